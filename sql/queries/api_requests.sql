-- Movements that others ask for, and the conflicts that a person resolves.
-- noqa: disable=RF02
-- (arguments look like columns without a table)

-- name: api_open_conflicts()^
SELECT count(*) AS conflicts
FROM sync_conflicts AS clash
WHERE clash.state = 'open';

-- name: api_claim_key(client, idempotency_key, digest, request_id)^
-- Waits for another that is just claiming the same key; returns nothing when it was claimed.
INSERT INTO api_idempotency_keys (client, idempotency_key, digest, request_id)
VALUES (:client, :idempotency_key, :digest, :request_id)
ON CONFLICT (client, idempotency_key) DO NOTHING
RETURNING request_id;

-- name: api_claimed_key(client, idempotency_key)^
SELECT
    claimed.digest,
    claimed.request_id
FROM api_idempotency_keys AS claimed
WHERE claimed.client = :client AND claimed.idempotency_key = :idempotency_key;

-- name: api_insert_request(id, idempotency_key, client, person, kind, medication_id, location_id, lot_id, lot_name, quantity, expected_quantity, reason, reference, source, occurred_at)!
INSERT INTO movement_requests (
    id, idempotency_key, client, person, kind, medication_id, location_id, lot_id, lot_name,
    quantity, expected_quantity, reason, reference, source, occurred_at
) VALUES (
    :id, :idempotency_key, :client, :person, :kind, :medication_id, :location_id, :lot_id, :lot_name,
    :quantity, :expected_quantity, :reason, :reference, :source, coalesce(cast(:occurred_at AS timestamptz), now())
);

-- name: api_request(id)^
SELECT
    request.id,
    request.kind,
    request.medication_id,
    request.location_id,
    request.lot_id,
    request.lot_name,
    request.quantity,
    request.expected_quantity,
    request.reason,
    request.reference,
    request.source,
    request.person,
    request.occurred_at,
    request.state,
    request.odoo_picking,
    request.error_code,
    request.error_detail,
    request.attempts,
    request.created_at,
    request.updated_at,
    request.applied_at
FROM movement_requests AS request
WHERE request.id = :id;

-- name: api_conflicts(state, after_id, count)
-- The newest first.
SELECT
    clash.id,
    clash.request_id,
    clash.code,
    clash.ours,
    clash.theirs,
    clash.state,
    clash.resolution,
    clash.resolved_by,
    clash.resolved_at,
    clash.note,
    clash.created_at,
    request.kind,
    request.medication_id,
    request.person,
    medication.name_es,
    medication.name_en
FROM sync_conflicts AS clash
INNER JOIN movement_requests AS request ON clash.request_id = request.id
LEFT JOIN shared_medications AS medication ON request.medication_id = medication.id
WHERE
    (cast(:state AS text) IS NULL OR clash.state = :state)
    AND (cast(:after_id AS bigint) IS NULL OR clash.id < :after_id)
ORDER BY clash.id DESC
LIMIT :count;

-- name: api_resolve(id, decision, person, note, counted, expected)$
SELECT
    resolve_sync_conflict(
        cast(:id AS bigint), :decision, :person, :note, cast(:counted AS numeric), cast(:expected AS numeric)
    ) AS request_id;
