-- The outbox: one row a change that the feed shows, written by the triggers of watch.sql.
--
-- xid is the TOP-LEVEL transaction's id (pg_current_xact_id), so that a snapshot can tell which rows a
-- cursor has already seen; subtransactions (Odoo's savepoints) share it.
--
-- Transaction ids are a cluster's own. A dump that is loaded into another one must not bring them along: rows of
-- ids that are still to come there would be served as new some day, and marks of such ids would tell each reader,
-- for ever, that its cursor is too old. So both are generated columns, which no dump holds: PostgreSQL computes
-- them when a row is written, and a row that a restore writes bears the id of the transaction that restores it.
-- PostgreSQL wants such an expression to be IMMUTABLE, and for the length of a transaction these are.
CREATE OR REPLACE FUNCTION clinic_change_xid() RETURNS xid8
LANGUAGE sql IMMUTABLE RETURN pg_current_xact_id();
CREATE OR REPLACE FUNCTION clinic_change_ended_below() RETURNS xid8
LANGUAGE sql IMMUTABLE RETURN pg_snapshot_xmin(pg_current_snapshot());

CREATE TABLE IF NOT EXISTS clinic_change (
    id bigserial PRIMARY KEY,
    xid xid8 NOT NULL GENERATED ALWAYS AS (clinic_change_xid()) STORED,
    entity text NOT NULL,
    res_id integer, -- the record's id, or null when the entity is known by `keys`
    op "char" NOT NULL, -- what the statement did: I, U or D (for people; the feed reads the state itself)
    keys jsonb, -- an array of integers, for entities that are not one record
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Marks on the way of transaction ids: at `at`, every transaction below `ended_below` had ended. Pruning deletes
-- up to a mark that is old enough; see _gc_changes in models/clinic_change.py for why not by clinic_change.at.
CREATE TABLE IF NOT EXISTS clinic_change_mark (
    at timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
    ended_below xid8 NOT NULL GENERATED ALWAYS AS (clinic_change_ended_below()) STORED,
    pruned boolean NOT NULL DEFAULT false
);

-- Tables of an earlier version of the addon held plain numbers. Their rows are served once more.
DO $$
DECLARE
    plain record;
BEGIN
    FOR plain IN
        SELECT a.attrelid::regclass AS place, a.attname AS name, a.attname = 'xid' AS is_xid
          FROM pg_attribute AS a
         WHERE a.attgenerated = ''
           AND (a.attrelid, a.attname) IN (
               ('clinic_change'::regclass, 'xid'), ('clinic_change_mark'::regclass, 'ended_below')
           )
    LOOP
        EXECUTE format('ALTER TABLE %s DROP COLUMN %I', plain.place, plain.name);
        EXECUTE format(
            'ALTER TABLE %s ADD COLUMN %I xid8 NOT NULL GENERATED ALWAYS AS (%s()) STORED',
            plain.place, plain.name,
            CASE WHEN plain.is_xid THEN 'clinic_change_xid' ELSE 'clinic_change_ended_below' END
        );
    END LOOP;
END $$;
CREATE INDEX IF NOT EXISTS clinic_change_xid_id ON clinic_change (xid, id);

-- Odoo stores UTC in `timestamp without time zone`. ISO-8601 with its offset; no text for infinity.
CREATE OR REPLACE FUNCTION clinic_change_utc(moment timestamp) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN isfinite(moment) THEN (to_jsonb(moment) #>> '{}') || '+00:00' END
$$;
