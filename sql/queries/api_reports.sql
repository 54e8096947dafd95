-- Movements consolidated from all sources. Each counts where it left the stock and where it came in: a transfer between
-- two shelves is in both, and its net is nothing.
-- noqa: disable=RF02
-- (arguments look like columns without a table)

-- name: api_report(group_by, medication_id, location_id, lot, since, until, count)
SELECT
    CASE cast(:group_by AS text)
        WHEN 'medication' THEN medication.name_es
        WHEN 'lot' THEN lot.name
        WHEN 'location' THEN place.name
        WHEN 'reason' THEN coalesce(movement.origin, movement.reference)
        WHEN 'user' THEN movement.done_by
        WHEN 'source' THEN CASE WHEN movement.is_inventory THEN 'count' ELSE 'movement' END
        ELSE to_char(movement.done_at, 'YYYY-MM')
    END AS label,
    medication.id AS medication_id,
    medication.sku,
    medication.name_es,
    medication.name_en,
    medication.uom,
    coalesce(sum(leg.quantity) FILTER (WHERE leg.quantity > 0 AND NOT movement.is_inventory), 0) AS entered,
    coalesce(-sum(leg.quantity) FILTER (WHERE leg.quantity < 0 AND NOT movement.is_inventory), 0) AS left_stock,
    coalesce(sum(leg.quantity) FILTER (WHERE movement.is_inventory), 0) AS corrected,
    sum(leg.quantity) AS net,
    count(DISTINCT movement.id) AS movements
FROM shared_stock_movements AS movement
INNER JOIN LATERAL (
    VALUES (movement.from_location_id, -movement.quantity), (movement.to_location_id, movement.quantity)
) AS leg (location_id, quantity) ON TRUE
INNER JOIN shared_locations AS place ON leg.location_id = place.id AND place.usage IN ('internal', 'transit')
INNER JOIN shared_medications AS medication ON movement.medication_id = medication.id
LEFT JOIN shared_lots AS lot ON movement.lot_id = lot.id
WHERE
    movement.done_at >= :since
    AND movement.done_at < :until
    AND (cast(:medication_id AS integer) IS NULL OR movement.medication_id = :medication_id)
    AND (cast(:location_id AS integer) IS NULL OR place.id = :location_id)
    AND (cast(:lot AS text) IS NULL OR lot.name = :lot)
GROUP BY 1, medication.id
ORDER BY 1, medication.name_es, medication.id
LIMIT :count;
