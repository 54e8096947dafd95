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
--   res_id   SQL for the entity's record id; `r` is the changed row (id and the shown columns)
--   keys     SQL for a jsonb array of integers, instead of res_id
--   via      SQL appended after the changed rows, to join other tables
--   rows     SQL condition: the rows that the feed shows at all
--
-- Old and new rows are compared by EXCEPT, never by a join: PL/pgSQL keeps the plan of the first execution,
-- and a nested loop planned for one row would be quadratic in a later statement of 20,000 rows. EXCEPT is
-- hashed or sorted, and treats NULLs as equal.
--
-- Where a row can leave what is shown (`rows`) or change its identity (`keys`), the old side counts too.
CREATE OR REPLACE FUNCTION clinic_change_watch(
    watched regclass,
    entity text,
    shown text [],
    events text [] DEFAULT '{INSERT,UPDATE,DELETE}',
    res_id text DEFAULT 'r.id',
    keys text DEFAULT 'NULL::jsonb',
    via text DEFAULT '',
    rows text DEFAULT 'true'
) RETURNS void LANGUAGE plpgsql AS $watch$
DECLARE
    home constant text := quote_ident(current_schema());
    bare constant text := (SELECT c.relname FROM pg_class AS c WHERE c.oid = watched);
    name constant text := clinic_change_watch_name(bare, entity);
    two_sided constant boolean := rows <> 'true' OR keys <> 'NULL::jsonb';
    columns constant text := (
        SELECT string_agg('r.' || quote_ident(c.name), ', ')
          FROM (SELECT 'id' AS name UNION SELECT unnest(shown)) AS c
    );
    new_rows constant text := format('SELECT %s FROM n_rows AS r WHERE %s', columns, rows);
    old_rows constant text := format('SELECT %s FROM o_rows AS r WHERE %s', columns, rows);
    changed text := format('(%s) EXCEPT (%s)', new_rows, old_rows);
    insertion text;
    event text;
BEGIN
    IF two_sided THEN
        changed := format('(%s) UNION ALL ((%s) EXCEPT (%s))', changed, old_rows, new_rows);
    END IF;
    insertion := format('INSERT INTO %s.clinic_change (entity, op, res_id, keys) SELECT DISTINCT %L, ', home, entity)
        || '%L::"char", ' || res_id || ', ' || keys || ' FROM (%s) AS r ' || via;
    EXECUTE format(
        $make$
        CREATE OR REPLACE FUNCTION %1$s.%2$I() RETURNS trigger LANGUAGE plpgsql
        SET search_path FROM CURRENT AS $body$
        BEGIN
            IF TG_OP = 'UPDATE' THEN %3$s;
            ELSIF TG_OP = 'INSERT' THEN %4$s;
            ELSE %5$s;
            END IF;
            IF FOUND THEN
                PERFORM pg_notify('clinic_change', ''); -- equal ones are folded into one a transaction
            END IF;
            RETURN NULL;
        END $body$
        $make$,
        home, name, format(insertion, 'U', changed), format(insertion, 'I', new_rows), format(insertion, 'D', old_rows)
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
