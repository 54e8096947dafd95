-- A stream outlives the check of its key at the door. What can take a reader's access away wakes the streams,
-- which then look again: an API key removed, a user switched off, a group lost.
CREATE OR REPLACE FUNCTION clinic_change_access() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN -- apart: only an UPDATE has these two tables
        IF NOT EXISTS (SELECT o.id, o.active FROM o_rows AS o EXCEPT SELECT n.id, n.active FROM n_rows AS n) THEN
            RETURN NULL;
        END IF;
    END IF;
    PERFORM pg_notify('clinic_change', '');
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER clinic_change_access_key AFTER DELETE ON res_users_apikeys
FOR EACH STATEMENT EXECUTE FUNCTION clinic_change_access();
CREATE OR REPLACE TRIGGER clinic_change_access_user AFTER UPDATE ON res_users
REFERENCING OLD TABLE AS o_rows NEW TABLE AS n_rows
FOR EACH STATEMENT EXECUTE FUNCTION clinic_change_access();
CREATE OR REPLACE TRIGGER clinic_change_access_group AFTER DELETE ON res_groups_users_rel
FOR EACH STATEMENT EXECUTE FUNCTION clinic_change_access();
CREATE OR REPLACE TRIGGER clinic_change_access_implied AFTER DELETE ON res_groups_implied_rel
FOR EACH STATEMENT EXECUTE FUNCTION clinic_change_access();
