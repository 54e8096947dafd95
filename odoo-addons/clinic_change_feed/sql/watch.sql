-- An update of the addon may have changed the parameters: PostgreSQL would keep both functions.
DO $$
DECLARE
    old regprocedure;
BEGIN
    FOR old IN
        SELECT p.oid FROM pg_proc AS p
         WHERE p.proname = 'clinic_change_watch' AND p.pronamespace = current_schema()::regnamespace
    LOOP
        EXECUTE format('DROP FUNCTION %s', old);
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION clinic_change_watch_name(bare text, entity text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    -- PostgreSQL cuts identifiers at 63 bytes, where two names could meet: a hash keeps long ones apart
    SELECT 'clinic_change_' || CASE
        WHEN octet_length(plain) <= 44 THEN plain
        ELSE left(plain, 35) || '_' || left(md5(plain), 8)
    END
    FROM (SELECT entity || '__' || bare AS plain) AS s
$$;

-- clinic_change_watch(): make the statement-level triggers by which one table's changes reach the outbox.
--
--   watched  the table
--   entity   what the outbox rows are called
--   shown    the columns of the table that the feed shows (or that lead to what it shows). An UPDATE that
--            changes none of them writes nothing.
--   events   which statements matter
--   keys     SQL for what identifies the entity: an integer (res_id) or a jsonb array of integers (keys). In it
--            `r` is the changed row (id and the shown columns), or with `via` only its id.
--   via      SQL appended after the changed rows `r(id)`, to join other tables
--   rows     SQL condition on `r`: the rows that the feed shows at all
--
-- Where a row can leave what is shown (`rows`) or change its identity (`keys`), the old side counts too.
--
-- Two things keep this cheap. Old and new rows are compared by EXCEPT, never by a join: PL/pgSQL keeps the plan of
-- the first execution, and a nested loop planned for one row would be quadratic in a later statement of 20,000.
-- EXCEPT is hashed or sorted, and takes NULLs as equal. And the comparison is a query apart: most statements
-- change nothing that is shown, and then no table has been opened.
CREATE OR REPLACE FUNCTION clinic_change_watch(
    watched regclass,
    entity text,
    shown text [],
    events text [] DEFAULT '{INSERT,UPDATE,DELETE}',
    keys text DEFAULT 'r.id',
    via text DEFAULT '',
    rows text DEFAULT 'true'
) RETURNS void LANGUAGE plpgsql AS $watch$
DECLARE
    home constant text := quote_ident(current_schema());
    name constant text := clinic_change_watch_name((SELECT c.relname FROM pg_class AS c WHERE c.oid = watched), entity);
    composite constant boolean := keys LIKE 'jsonb%';
    identity constant text := CASE WHEN via = '' THEN keys ELSE 'r.id' END;
    identity_type constant text := CASE WHEN via = '' AND composite THEN 'jsonb' ELSE 'integer' END;
    columns constant text := (
        SELECT string_agg('r.' || quote_ident(c.name), ', ')
          FROM (SELECT 'id' AS name UNION SELECT unnest(shown)) AS c
    );
    new_rows constant text := format('SELECT %s FROM n_rows AS r WHERE %s', columns, rows);
    old_rows constant text := format('SELECT %s FROM o_rows AS r WHERE %s', columns, rows);
    changed text := format('(%s) EXCEPT (%s)', new_rows, old_rows);
    event text;
BEGIN
    IF rows <> 'true' OR composite THEN
        changed := format('(%s) UNION ALL ((%s) EXCEPT (%s))', changed, old_rows, new_rows);
    END IF;
    EXECUTE format(
        $make$
        CREATE OR REPLACE FUNCTION %1$s.%2$I() RETURNS trigger LANGUAGE plpgsql
        SET search_path FROM CURRENT AS $body$
        DECLARE
            touched %3$s [];
        BEGIN
            IF TG_OP = 'UPDATE' THEN touched := ARRAY(SELECT %4$s FROM (%5$s) AS r);
            ELSIF TG_OP = 'INSERT' THEN touched := ARRAY(SELECT %4$s FROM (%6$s) AS r);
            ELSE touched := ARRAY(SELECT %4$s FROM (%7$s) AS r);
            END IF;
            IF touched = '{}' THEN
                RETURN NULL;
            END IF;
            INSERT INTO clinic_change (entity, op, %8$I)
            SELECT DISTINCT %9$L, left(TG_OP, 1)::"char", %10$s FROM unnest(touched) AS r(id) %11$s;
            IF FOUND THEN
                PERFORM pg_notify('clinic_change', ''); -- equal ones are folded into one a transaction
            END IF;
            RETURN NULL;
        END $body$
        $make$,
        home, name, identity_type, identity, changed, new_rows, old_rows,
        CASE WHEN composite THEN 'keys' ELSE 'res_id' END,
        entity, CASE WHEN via = '' THEN 'r.id' ELSE keys END, via
    );
    FOREACH event IN ARRAY '{INSERT,UPDATE,DELETE}'::text [] LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s', name || '_' || lower(left(event, 3)), watched);
        CONTINUE WHEN event <> ALL (events);
        EXECUTE format(
            'CREATE TRIGGER %I AFTER %s ON %s REFERENCING %s FOR EACH STATEMENT EXECUTE FUNCTION %s.%I()',
            name || '_' || lower(left(event, 3)), event, watched,
            CASE event
                WHEN 'INSERT' THEN 'NEW TABLE AS n_rows'
                WHEN 'DELETE' THEN 'OLD TABLE AS o_rows'
                ELSE 'OLD TABLE AS o_rows NEW TABLE AS n_rows'
            END,
            home, name
        );
    END LOOP;
END $watch$;

-- clinic_change_unwatch(): take the triggers of one entity away, or of all (null).
CREATE OR REPLACE FUNCTION clinic_change_unwatch(entity text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql AS $unwatch$
DECLARE
    found_function record;
BEGIN
    FOR found_function IN
        SELECT DISTINCT p.oid::regprocedure AS signature
          FROM pg_trigger AS t
          JOIN pg_proc AS p ON p.oid = t.tgfoid
          JOIN pg_class AS c ON c.oid = t.tgrelid
         WHERE starts_with(p.proname, 'clinic_change_')
           AND (clinic_change_unwatch.entity IS NULL
                OR p.proname = clinic_change_watch_name(c.relname, clinic_change_unwatch.entity))
    LOOP
        EXECUTE format('DROP FUNCTION %s CASCADE', found_function.signature);
    END LOOP;
END $unwatch$;
