-- How far a mirror has come, and the lock that keeps two writers apart.

-- name: try_mirror_lock(lock_id)$
-- One mirror at a time. Held by the session: a killed process lets go of it by dying.
SELECT pg_try_advisory_lock(:lock_id);

-- name: ensure_cursor(name)!
INSERT INTO sync_cursors (name) VALUES (:name) ON CONFLICT (name) DO NOTHING;

-- name: read_cursor(name)^
SELECT
    place.cursor,
    place.generation,
    place.load_generation,
    place.load_cursor,
    place.load_entity,
    place.load_after,
    place.alerts_dirty,
    place.entities,
    exists(SELECT 1 FROM sync_rejects) AS has_rejects
FROM sync_cursors AS place
WHERE place.name = :name;

-- name: lock_cursor(name)^
-- The same, and nobody else may write until this transaction ends.
SELECT
    place.cursor,
    place.generation,
    place.load_generation,
    place.load_cursor,
    place.load_entity,
    place.load_after,
    place.alerts_dirty,
    place.entities,
    exists(SELECT 1 FROM sync_rejects) AS has_rejects
FROM sync_cursors AS place
WHERE place.name = :name
FOR UPDATE;

-- name: forget_cursor(name)!
UPDATE sync_cursors
SET
    cursor = NULL,
    load_cursor = NULL,
    load_entity = NULL,
    load_after = NULL
WHERE name = :name;

-- name: advance_cursor(cursor, lag_ms, changes, rows_written, alerts_touched, is_fresh, name)!
UPDATE sync_cursors
SET
    cursor = :cursor,
    lag_ms = coalesce(:lag_ms, lag_ms),
    pages = pages + 1,
    changes = changes + :changes,
    rows_written = rows_written + :rows_written,
    alerts_version = alerts_version + cast(:alerts_touched AS integer),
    fresh_at = CASE WHEN :is_fresh THEN clock_timestamp() ELSE fresh_at END,
    updated_at = clock_timestamp()
WHERE name = :name;

-- name: begin_load(load_cursor, load_entity, entities, reason, name)!
UPDATE sync_cursors
SET
    load_generation = load_generation + 1,
    load_cursor = :load_cursor,
    load_entity = :load_entity,
    load_after = NULL,
    entities = :entities,
    load_reason = :reason,
    load_began_at = clock_timestamp(),
    updated_at = clock_timestamp()
WHERE name = :name;

-- name: advance_load(load_entity, load_after, changes, rows_written, name)!
UPDATE sync_cursors
SET
    load_entity = :load_entity,
    load_after = :load_after,
    pages = pages + 1,
    changes = changes + :changes,
    rows_written = rows_written + :rows_written,
    updated_at = clock_timestamp()
WHERE name = :name;

-- name: finish_load(name)!
UPDATE sync_cursors
SET
    cursor = load_cursor,
    generation = load_generation,
    load_cursor = NULL,
    load_entity = NULL,
    load_after = NULL,
    alerts_version = alerts_version + 1,
    loaded_at = clock_timestamp(),
    fresh_at = load_began_at,
    updated_at = clock_timestamp()
WHERE name = :name;

-- name: alerts_differ(ids)$
-- Does low_stock_alerts show these products otherwise than they are now?
SELECT
    EXISTS (
        SELECT now.* FROM low_stock AS now
        WHERE now.medication_id = any(cast(:ids AS integer[]))
        EXCEPT
        SELECT shown.* FROM low_stock_alerts AS shown
        WHERE shown.medication_id = any(cast(:ids AS integer[]))
    )
    OR EXISTS (
        SELECT shown.* FROM low_stock_alerts AS shown
        WHERE shown.medication_id = any(cast(:ids AS integer[]))
        EXCEPT
        SELECT now.* FROM low_stock AS now
        WHERE now.medication_id = any(cast(:ids AS integer[]))
    );

-- name: touch_alerts(name)!
UPDATE sync_cursors SET alerts_version = alerts_version + 1
WHERE name = :name;

-- name: shown_alerts(name)^
-- Read before the refresh: what it will see is at least this version.
SELECT
    place.alerts_version,
    place.alerts_dirty,
    coalesce((SELECT array_agg(shown.rule_id ORDER BY shown.rule_id) FROM low_stock_alerts AS shown), '{}') AS rule_ids
FROM sync_cursors AS place
WHERE place.name = :name;

-- name: refresh_alerts#
-- Readers are not blocked. Needs the unique index on rule_id.
REFRESH MATERIALIZED VIEW CONCURRENTLY low_stock_alerts;

-- name: alert_rule_ids()$
SELECT coalesce(array_agg(shown.rule_id ORDER BY shown.rule_id), '{}') FROM low_stock_alerts AS shown;

-- name: alerts_refreshed(version, refresh_ms, name)!
UPDATE sync_cursors
SET
    alerts_refreshed_version = greatest(alerts_refreshed_version, :version),
    alerts_refreshed_at = clock_timestamp(),
    refresh_ms = :refresh_ms
WHERE name = :name;

-- name: reconciled(rows_compared, drifted, name)!
UPDATE sync_cursors
SET
    reconciled_at = clock_timestamp(),
    reconciled_rows = :rows_compared,
    drifted_rows = :drifted
WHERE name = :name;
