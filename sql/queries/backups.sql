-- Backups of Odoo, restores of them, and drills.

-- name: try_backup_lock(lock_id)$
-- One backup at a time: what is found running by whoever holds it was left by a process that is no more.
SELECT pg_try_advisory_lock(:lock_id);

-- name: begin_backup(backup_id, database, kind, requested_by, note, run_id, request_id)$
-- Nothing is returned for one that is stored already.
INSERT INTO backups AS known
(backup_id, database, kind, state, requested_by, note, run_id, request_id)
VALUES
(:backup_id, :database, :kind, 'running', :requested_by, :note, :run_id, :request_id)
ON CONFLICT (backup_id) DO UPDATE
    SET state = 'running', error = NULL, updated_at = now(), told_odoo_at = NULL
    WHERE known.state IN ('running', 'failed')
RETURNING backup_id;

-- name: fail_backup(backup_id, error)!
UPDATE backups
SET state = 'failed', error = :error, updated_at = now(), told_odoo_at = NULL
WHERE backup_id = :backup_id AND state = 'running';

-- name: fail_left_backups(backup_id, error)!
UPDATE backups
SET state = 'failed', error = :error, updated_at = now(), told_odoo_at = NULL
WHERE backup_id <> :backup_id AND state = 'running';

-- name: store_backup(backup_id, database, kind, requested_by, note, taken_at, name, vault, file_id, manifest_file_id, url, size_bytes, encrypted_sha256, manifest)!
INSERT INTO backups AS known
(
    backup_id, database, kind, state, requested_by, note, taken_at, name, vault, file_id,
    manifest_file_id, url, size_bytes, encrypted_sha256, manifest, verified_at
)
VALUES
(
    :backup_id, :database, :kind, 'stored', :requested_by, :note, :taken_at, :name, :vault, :file_id,
    :manifest_file_id, :url, :size_bytes, :encrypted_sha256, cast(:manifest AS jsonb), now()
)
ON CONFLICT (backup_id) DO UPDATE
    SET
        state = 'stored',
        taken_at = excluded.taken_at,
        name = excluded.name,
        vault = excluded.vault,
        file_id = excluded.file_id,
        manifest_file_id = excluded.manifest_file_id,
        url = excluded.url,
        size_bytes = excluded.size_bytes,
        encrypted_sha256 = excluded.encrypted_sha256,
        manifest = excluded.manifest,
        verified_at = excluded.verified_at,
        expired_at = NULL,
        error = NULL,
        updated_at = now(),
        told_odoo_at = NULL;

-- name: backup(backup_id)^
SELECT
    backup_id,
    database,
    kind,
    state,
    requested_by,
    note,
    run_id,
    request_id,
    started_at,
    updated_at,
    taken_at,
    name,
    vault,
    file_id,
    manifest_file_id,
    url,
    size_bytes,
    encrypted_sha256,
    manifest,
    verified_at,
    expired_at,
    error,
    told_odoo_at
FROM backups
WHERE backup_id = :backup_id;

-- name: newest_stored_backup(database, kind)^
SELECT
    backup_id,
    database,
    kind,
    state,
    requested_by,
    note,
    run_id,
    request_id,
    started_at,
    updated_at,
    taken_at,
    name,
    vault,
    file_id,
    manifest_file_id,
    url,
    size_bytes,
    encrypted_sha256,
    manifest,
    verified_at,
    expired_at,
    error,
    told_odoo_at
FROM backups
WHERE
    database = :database
    AND kind = :kind
    AND state = 'stored'
    AND taken_at <= now() + interval '1 hour' -- one of a clock that was wrong would be the newest for a year
ORDER BY taken_at DESC, backup_id DESC
LIMIT 1;

-- name: stored_backups()
SELECT
    backup_id,
    database,
    kind,
    state,
    requested_by,
    note,
    run_id,
    request_id,
    started_at,
    updated_at,
    taken_at,
    name,
    vault,
    file_id,
    manifest_file_id,
    url,
    size_bytes,
    encrypted_sha256,
    manifest,
    verified_at,
    expired_at,
    error,
    told_odoo_at
FROM backups
WHERE state = 'stored'
ORDER BY taken_at DESC, backup_id DESC;

-- name: recent_backups(most)
SELECT
    backup_id,
    database,
    kind,
    state,
    requested_by,
    note,
    run_id,
    request_id,
    started_at,
    updated_at,
    taken_at,
    name,
    vault,
    file_id,
    manifest_file_id,
    url,
    size_bytes,
    encrypted_sha256,
    manifest,
    verified_at,
    expired_at,
    error,
    told_odoo_at
FROM backups
ORDER BY started_at DESC, backup_id DESC
LIMIT :most;

-- name: lock_backup(backup_id)$
-- Expiring a backup and starting a restore of it take turns.
SELECT backup_id FROM backups
WHERE backup_id = :backup_id AND state = 'stored'
FOR UPDATE;

-- name: expire_backup(backup_id)$
-- Never the newest of its database and kind, and never while it is being restored, whoever asks.
UPDATE backups AS old
SET state = 'expired', expired_at = now(), updated_at = now(), told_odoo_at = NULL
WHERE
    old.backup_id = :backup_id
    AND old.state = 'stored'
    AND EXISTS (
        SELECT FROM backups AS newer
        WHERE
            newer.database = old.database
            AND newer.kind = old.kind
            AND newer.state = 'stored'
            AND (newer.taken_at, newer.backup_id) > (old.taken_at, old.backup_id)
            AND newer.taken_at <= now() + interval '1 hour' -- a clock that was wrong for a night
    )
    AND NOT EXISTS (
        SELECT FROM restores
        WHERE
            restores.backup_id = old.backup_id
            AND restores.state = 'running'
            AND restores.updated_at > now() - interval '12 hours'
    )
RETURNING old.backup_id;

-- name: untold_backups(most)
SELECT
    backups.backup_id,
    backups.request_id,
    backups.database,
    backups.kind,
    backups.state,
    backups.taken_at,
    backups.name,
    backups.size_bytes,
    backups.url,
    backups.note,
    backups.requested_by,
    backups.error,
    backups.verified_at,
    backups.expired_at,
    drill.finished_at AS drilled_at,
    drill.passed AS drill_passed,
    backups.updated_at
FROM backups
LEFT JOIN LATERAL (
    SELECT
        restore_drills.finished_at,
        restore_drills.passed
    FROM restore_drills
    WHERE restore_drills.backup_id = backups.backup_id
    ORDER BY restore_drills.finished_at DESC
    LIMIT 1
) AS drill ON TRUE
WHERE backups.told_odoo_at IS NULL
ORDER BY backups.updated_at, backups.backup_id
LIMIT :most;

-- name: told_backups(backup_ids, updated_ats)!
-- What changed while Odoo was being told is told once more.
UPDATE backups SET told_odoo_at = now()
FROM unnest(cast(:backup_ids AS uuid[]), cast(:updated_ats AS timestamptz[])) AS told (backup_id, updated_at)
WHERE backups.backup_id = told.backup_id AND backups.updated_at = told.updated_at;

-- name: start_restore(restore_id, backup_id, purpose, target, requested_by)!
INSERT INTO restores (restore_id, backup_id, purpose, target, state, requested_by)
VALUES (:restore_id, :backup_id, :purpose, :target, 'running', :requested_by)
ON CONFLICT (restore_id) DO UPDATE
    SET state = 'running', updated_at = now(), finished_at = NULL, error = NULL;

-- name: step_restore(restore_id)!
UPDATE restores SET updated_at = now()
WHERE restore_id = :restore_id AND state = 'running';

-- name: finish_restore(restore_id, state, error, report)!
UPDATE restores
SET
    state = :state,
    error = :error,
    report = cast(:report AS jsonb),
    updated_at = now(),
    finished_at = now()
WHERE restore_id = :restore_id AND state = 'running';

-- name: running_restores()
-- A row without a step for twelve hours was left by a process that is no more: no step may take eight.
SELECT
    restore_id,
    backup_id,
    purpose,
    target,
    state,
    requested_by,
    started_at,
    updated_at,
    finished_at,
    error,
    report
FROM restores
WHERE state = 'running' AND updated_at > now() - interval '12 hours'
ORDER BY started_at, restore_id;

-- name: add_drill(drill_id, backup_id, passed, restore_s, total_s, tables_compared, rows_compared, files_compared, differences)!
INSERT INTO restore_drills
(drill_id, backup_id, passed, restore_s, total_s, tables_compared, rows_compared, files_compared, differences)
VALUES
(
    :drill_id, :backup_id, :passed, :restore_s, :total_s, :tables_compared, :rows_compared,
    :files_compared, cast(:differences AS jsonb)
)
ON CONFLICT (drill_id) DO NOTHING;

-- name: drill_to_tell(backup_id)!
UPDATE backups SET updated_at = now(), told_odoo_at = NULL
WHERE backup_id = :backup_id;

-- name: drills(most, only_passed)
WITH chosen AS (
    SELECT
        drill_id,
        backup_id,
        passed,
        finished_at,
        restore_s,
        total_s,
        tables_compared,
        rows_compared,
        files_compared,
        differences
    FROM restore_drills
    WHERE passed OR NOT cast(:only_passed AS boolean)
    ORDER BY finished_at DESC, drill_id DESC
    LIMIT :most
)

SELECT
    chosen.drill_id,
    chosen.backup_id,
    chosen.passed,
    chosen.finished_at,
    chosen.restore_s,
    chosen.total_s,
    chosen.tables_compared,
    chosen.rows_compared,
    chosen.files_compared,
    chosen.differences,
    backups.name,
    backups.database,
    backups.kind,
    backups.taken_at
FROM chosen
INNER JOIN backups ON chosen.backup_id = backups.backup_id
ORDER BY chosen.finished_at DESC, chosen.drill_id DESC;
