-- The outbox: one row a change that the feed shows, written by the triggers of watch.sql.
--
-- xid is the TOP-LEVEL transaction's id (pg_current_xact_id), so that a snapshot can tell which rows a
-- cursor has already seen; subtransactions (Odoo's savepoints) share it.
CREATE TABLE IF NOT EXISTS clinic_change (
    id bigserial PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    entity text NOT NULL,
    res_id integer, -- the record's id, or null when the entity is known by `keys`
    op "char" NOT NULL, -- what the statement did: I, U or D (for people; the feed reads the state itself)
    keys jsonb, -- an array of integers, for entities that are not one record
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS clinic_change_xid_id ON clinic_change (xid, id);

-- Marks on the way of transaction ids: at `at`, every transaction below `ended_below` had ended. Pruning deletes
-- up to a mark that is old enough; see _gc_changes in models/clinic_change.py for why not by clinic_change.at.
CREATE TABLE IF NOT EXISTS clinic_change_mark (
    at timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
    ended_below xid8 NOT NULL DEFAULT pg_snapshot_xmin(pg_current_snapshot()),
    pruned boolean NOT NULL DEFAULT false
);

-- Odoo stores UTC in `timestamp without time zone`. ISO-8601 with its offset; no text for infinity.
CREATE OR REPLACE FUNCTION clinic_change_utc(moment timestamp) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN isfinite(moment) THEN (to_jsonb(moment) #>> '{}') || '+00:00' END
$$;
