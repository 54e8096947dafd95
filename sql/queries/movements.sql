-- Movements that other systems ask for, on their way into Odoo.
-- noqa: disable=RF02
-- (arguments look like columns without a table)

-- name: listen_movements#
LISTEN clinica_movement_requests;

-- name: claim_movements(lease_s, count)
-- What is due, and what a process that was killed left in hand. Others skip it until the lease ends.
UPDATE movement_requests
SET
    state = 'applying',
    attempts = attempts + 1,
    next_at = clock_timestamp() + make_interval(secs => :lease_s),
    updated_at = clock_timestamp()
WHERE
    id IN (
        SELECT due.id FROM movement_requests AS due
        WHERE due.state IN ('pending', 'applying') AND due.next_at <= clock_timestamp()
        ORDER BY due.created_at, due.id
        LIMIT :count
        FOR UPDATE SKIP LOCKED
    )
RETURNING
    id, client, person, kind, medication_id, location_id, lot_id, lot_name, quantity,
    expected_quantity, reason, reference, source, occurred_at, apply_anyway, attempts, created_at;

-- name: movement_applied(picking, moves, id, attempts)!
UPDATE movement_requests
SET
    state = 'applied',
    odoo_picking = :picking,
    odoo_move_ids = :moves,
    error_code = NULL,
    error_detail = NULL,
    applied_at = clock_timestamp(),
    updated_at = clock_timestamp()
WHERE id = :id AND state = 'applying' AND attempts = :attempts;

-- name: movement_refused(code, detail, id, attempts)!
UPDATE movement_requests
SET
    state = 'conflict',
    error_code = :code,
    error_detail = :detail,
    updated_at = clock_timestamp()
WHERE id = :id AND state = 'applying' AND attempts = :attempts;

-- name: open_conflict(request_id, code, ours, theirs)!
INSERT INTO sync_conflicts (request_id, code, ours, theirs)
VALUES (:request_id, :code, cast(:ours AS jsonb), cast(:theirs AS jsonb));

-- name: movement_put_off(detail, pause_s, id, attempts)!
UPDATE movement_requests
SET
    state = 'pending',
    error_code = 'transient',
    error_detail = :detail,
    next_at = clock_timestamp() + make_interval(secs => :pause_s),
    updated_at = clock_timestamp()
WHERE id = :id AND state = 'applying' AND attempts = :attempts;

-- name: list_movements(state, count)
SELECT
    request.id,
    request.created_at,
    request.kind,
    coalesce(medication.name_es, request.medication_id::text) AS medication,
    coalesce(request.lot_name, lot.name) AS lot,
    request.quantity,
    request.state,
    request.error_code,
    request.attempts,
    conflict.id AS conflict_id
FROM movement_requests AS request
LEFT JOIN shared_medications AS medication ON request.medication_id = medication.id
LEFT JOIN shared_lots AS lot ON request.lot_id = lot.id
LEFT JOIN sync_conflicts AS conflict ON request.id = conflict.request_id AND conflict.state = 'open'
WHERE cast(:state AS text) IS NULL OR request.state = :state
ORDER BY request.created_at DESC, request.id DESC
LIMIT :count;

-- name: show_movement(id)^
SELECT
    request.id,
    request.created_at,
    request.client,
    request.person,
    request.source,
    request.kind,
    request.medication_id,
    request.location_id,
    request.lot_id,
    request.lot_name,
    request.quantity,
    request.expected_quantity,
    request.reason,
    request.reference,
    request.occurred_at,
    request.recount_of,
    request.apply_anyway,
    request.state,
    request.attempts,
    request.next_at,
    request.error_code,
    request.error_detail,
    request.applied_at,
    request.odoo_picking,
    request.odoo_move_ids,
    conflict.id AS conflict_id,
    conflict.code AS conflict_code,
    conflict.ours,
    conflict.theirs,
    conflict.state AS conflict_state,
    conflict.resolution,
    conflict.resolved_by,
    conflict.note
FROM movement_requests AS request
LEFT JOIN sync_conflicts AS conflict ON request.id = conflict.request_id
WHERE request.id = :id
ORDER BY conflict.id DESC
LIMIT 1;

-- name: resolve_conflict(conflict_id, decision, person, note, counted, expected)$
SELECT resolve_sync_conflict(
    :conflict_id, :decision, :person, :note, cast(:counted AS numeric), cast(:expected AS numeric)
);
