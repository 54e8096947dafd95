-- Movements, and what the API tells subscribers.
-- noqa: disable=RF02
-- (arguments look like columns without a table)

-- name: api_movements(medication_id, location_id, lot, since, until, after_at, after_id, count)
-- The newest first.
SELECT
    movement.id,
    movement.medication_id,
    medication.name_es,
    medication.name_en,
    medication.sku,
    medication.uom,
    movement.lot_id,
    lot.name AS lot,
    movement.from_location_id,
    source.name AS from_location,
    movement.to_location_id,
    target.name AS to_location,
    movement.quantity,
    movement.reference,
    movement.origin,
    movement.is_inventory,
    movement.done_at,
    movement.done_by
FROM shared_stock_movements AS movement
LEFT JOIN shared_medications AS medication ON movement.medication_id = medication.id
LEFT JOIN shared_lots AS lot ON movement.lot_id = lot.id
LEFT JOIN shared_locations AS source ON movement.from_location_id = source.id
LEFT JOIN shared_locations AS target ON movement.to_location_id = target.id
WHERE
    (cast(:medication_id AS integer) IS NULL OR movement.medication_id = :medication_id)
    AND (
        cast(:location_id AS integer) IS NULL
        OR :location_id IN (movement.from_location_id, movement.to_location_id)
    )
    AND (cast(:lot AS text) IS NULL OR lot.name = :lot)
    AND (cast(:since AS timestamptz) IS NULL OR movement.done_at >= :since)
    AND (cast(:until AS timestamptz) IS NULL OR movement.done_at < :until)
    AND (
        cast(:after_at AS timestamptz) IS NULL
        OR (movement.done_at, movement.id) < (cast(:after_at AS timestamptz), cast(:after_id AS bigint))
    )
ORDER BY movement.done_at DESC, movement.id DESC
LIMIT :count;

-- name: api_timeline(document_id)
SELECT
    event.number,
    event.revision,
    event.state,
    event.at,
    event.actor
FROM document_events AS event
WHERE event.document_id = :document_id
ORDER BY event.number
LIMIT 1000;

-- name: api_kept_events()^
SELECT
    coalesce(min(event.number), 0) AS oldest,
    coalesce(max(event.number), 0) AS newest
FROM change_events AS event;

-- name: api_events(after, count)
SELECT
    event.number,
    event.kind,
    event.payload,
    event.at
FROM change_events AS event
WHERE event.number > :after
ORDER BY event.number
LIMIT :count;
