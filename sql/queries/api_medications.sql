-- What the API reads of the mirror. Arguments that may be null are filters that were not given.
-- noqa: disable=RF02
-- (arguments look like columns without a table)

-- name: api_as_of()^
SELECT cursor.fresh_at AS as_of
FROM sync_cursors AS cursor
WHERE cursor.name = 'odoo.inventory';

-- name: api_medications(pattern, category, location_id, lot, before, state, soon, after_name, after_id, count)
SELECT
    medication.id,
    medication.sku,
    medication.barcode,
    medication.name_es,
    medication.name_en,
    medication.category,
    medication.uom,
    medication.tracking,
    medication.stock_quantity,
    medication.reserved_quantity,
    medication.min_stock_level,
    medication.max_stock_level,
    medication.unit_cost,
    medication.currency,
    medication.synced_at,
    state.expired_quantity,
    state.next_expiry_at,
    state.is_negative,
    state.is_expired,
    state.is_out,
    state.is_low,
    coalesce(state.next_expiry_at < cast(:soon AS timestamptz), FALSE) AS is_expiring,
    left(searchable_text(medication.name_es), 200) AS sort_name
FROM shared_medications AS medication
INNER JOIN medication_states AS state ON medication.id = state.medication_id
WHERE
    medication.active
    AND (cast(:pattern AS text) IS NULL OR medication.search_text LIKE searchable_text(:pattern))
    AND (cast(:category AS text) IS NULL OR medication.category = :category)
    AND (
        cast(:location_id AS integer) IS NULL
        OR EXISTS (
            SELECT FROM shared_stock_levels AS level
            INNER JOIN shared_locations AS place ON level.location_id = place.id
            INNER JOIN shared_locations AS wanted ON wanted.id = :location_id
            WHERE
                level.medication_id = medication.id
                AND level.quantity <> 0
                AND (place.id = wanted.id OR starts_with(place.parent_path, wanted.parent_path))
        )
    )
    AND (
        cast(:lot AS text) IS NULL
        OR EXISTS (
            SELECT FROM shared_lots AS lot
            WHERE lot.medication_id = medication.id AND searchable_text(lot.name) = searchable_text(:lot)
        )
    )
    AND (cast(:before AS timestamptz) IS NULL OR state.next_expiry_at < :before)
    AND CASE cast(:state AS text)
        WHEN 'negative' THEN state.is_negative
        WHEN 'expired' THEN state.is_expired
        WHEN 'out' THEN state.is_out
        WHEN 'low' THEN state.is_low
        WHEN 'expiring' THEN state.next_expiry_at < cast(:soon AS timestamptz)
        WHEN 'ok'
            THEN
                NOT (state.is_negative OR state.is_expired OR state.is_out OR state.is_low)
                AND coalesce(state.next_expiry_at >= cast(:soon AS timestamptz), TRUE)
        ELSE TRUE
    END
    AND (
        cast(:after_name AS text) IS NULL
        OR (left(searchable_text(medication.name_es), 200), medication.id)
        > (cast(:after_name AS text), cast(:after_id AS bigint))
    )
ORDER BY left(searchable_text(medication.name_es), 200), medication.id
LIMIT :count;

-- name: api_medication(id, soon)^
SELECT
    medication.id,
    medication.sku,
    medication.barcode,
    medication.name_es,
    medication.name_en,
    medication.category,
    medication.uom,
    medication.tracking,
    medication.active,
    medication.stock_quantity,
    medication.reserved_quantity,
    medication.min_stock_level,
    medication.max_stock_level,
    medication.unit_cost,
    medication.currency,
    medication.synced_at,
    state.expired_quantity,
    state.next_expiry_at,
    state.is_negative,
    state.is_expired,
    state.is_out,
    state.is_low,
    coalesce(state.next_expiry_at < cast(:soon AS timestamptz), FALSE) AS is_expiring
FROM shared_medications AS medication
INNER JOIN medication_states AS state ON medication.id = state.medication_id
WHERE medication.id = :id;

-- name: api_levels(id)
SELECT
    level.location_id,
    place.name AS location,
    nullif(level.lot_id, 0) AS lot_id,
    lot.name AS lot,
    lot.expires_at,
    lot.removal_at,
    level.quantity,
    level.reserved_quantity
FROM shared_stock_levels AS level
LEFT JOIN shared_locations AS place ON level.location_id = place.id
LEFT JOIN shared_lots AS lot ON level.lot_id = lot.id
WHERE level.medication_id = :id
ORDER BY place.name, lot.expires_at NULLS LAST, level.lot_id
LIMIT 1000;

-- name: api_rules(id)
SELECT
    rule.id,
    rule.location_id,
    place.name AS location,
    rule.min_quantity,
    rule.max_quantity
FROM shared_reorder_rules AS rule
LEFT JOIN shared_locations AS place ON rule.location_id = place.id
WHERE rule.medication_id = :id AND rule.active
ORDER BY rule.id
LIMIT 200;

-- name: api_consumption(id, since)
-- What left for patients, wards or elsewhere, less what came back, by day. Not what a count corrected, not what
-- was moved between shelves, not what went back to a supplier.
SELECT
    cast(movement.done_at AS date) AS day,
    sum(
        CASE WHEN source.usage IN ('internal', 'transit') THEN movement.quantity ELSE -movement.quantity END
    ) AS quantity
FROM shared_stock_movements AS movement
INNER JOIN shared_locations AS source ON movement.from_location_id = source.id
INNER JOIN shared_locations AS target ON movement.to_location_id = target.id
WHERE
    movement.medication_id = :id
    AND movement.done_at >= :since
    AND NOT movement.is_inventory
    AND (
        (source.usage IN ('internal', 'transit') AND target.usage IN ('customer', 'production'))
        OR (source.usage IN ('customer', 'production') AND target.usage IN ('internal', 'transit'))
    )
GROUP BY cast(movement.done_at AS date)
ORDER BY cast(movement.done_at AS date);

-- name: api_first_movement(id)^
SELECT min(movement.done_at) AS first_at FROM shared_stock_movements AS movement
WHERE movement.medication_id = :id;

-- name: api_net_by_day(id, since)
-- How the stock changed each day: what came in less what went out.
SELECT
    cast(movement.done_at AS date) AS day,
    sum(
        CASE WHEN target.usage IN ('internal', 'transit') THEN movement.quantity ELSE 0 END
        - CASE WHEN source.usage IN ('internal', 'transit') THEN movement.quantity ELSE 0 END
    ) AS change
FROM shared_stock_movements AS movement
LEFT JOIN shared_locations AS source ON movement.from_location_id = source.id
LEFT JOIN shared_locations AS target ON movement.to_location_id = target.id
WHERE movement.medication_id = :id AND movement.done_at >= :since
GROUP BY cast(movement.done_at AS date)
ORDER BY cast(movement.done_at AS date);

-- name: api_summary(days_30, days_90)^
SELECT
    count(*) FILTER (WHERE state.is_out) AS out_of_stock,
    count(*) FILTER (WHERE state.is_low) AS below_minimum,
    count(*) FILTER (WHERE state.next_expiry_at < cast(:days_30 AS timestamptz)) AS expiring_30,
    count(*) FILTER (WHERE state.next_expiry_at < cast(:days_90 AS timestamptz)) AS expiring_90,
    count(*) FILTER (WHERE state.is_expired) AS expired,
    count(*) FILTER (WHERE state.is_negative) AS negative,
    count(*) AS medications
FROM shared_medications AS medication
INNER JOIN medication_states AS state ON medication.id = state.medication_id
WHERE medication.active;

-- name: api_locations(after_id, count)
SELECT
    place.id,
    place.name,
    place.usage,
    place.warehouse_id,
    place.warehouse
FROM shared_locations AS place
WHERE place.active AND place.usage IN ('internal', 'transit') AND place.id > coalesce(cast(:after_id AS bigint), 0)
ORDER BY place.id
LIMIT :count;

-- name: api_alerts(location_id, after_id, count)
SELECT
    alert.rule_id,
    alert.medication_id,
    alert.sku,
    alert.name_es,
    alert.name_en,
    alert.uom,
    alert.location_id,
    alert.location,
    alert.quantity,
    alert.reserved_quantity,
    alert.min_quantity,
    alert.max_quantity,
    alert.missing_quantity
FROM low_stock_alerts AS alert
WHERE
    (cast(:location_id AS integer) IS NULL OR alert.location_id = :location_id)
    AND alert.rule_id > coalesce(cast(:after_id AS bigint), 0)
ORDER BY alert.rule_id
LIMIT :count;
