-- What the mirror holds, to be compared with Odoo, and what the comparison found.

-- name: rows_location()
SELECT
    id,
    name,
    usage,
    active,
    parent_path,
    company_id,
    company,
    warehouse_id,
    warehouse,
    synced_at
FROM shared_locations;

-- name: rows_product()
SELECT
    id,
    sku,
    barcode,
    name_es,
    name_en,
    category,
    uom,
    active,
    tracking,
    list_price,
    unit_cost,
    currency,
    company_id,
    synced_at
FROM shared_medications;

-- name: rows_lot()
SELECT
    id,
    medication_id,
    name,
    expires_at,
    removal_at,
    company_id,
    synced_at
FROM shared_lots;

-- name: rows_reorder_rule()
SELECT
    id,
    medication_id,
    location_id,
    warehouse_id,
    company_id,
    min_quantity,
    max_quantity,
    active,
    synced_at
FROM shared_reorder_rules;

-- name: rows_stock_level()
SELECT
    medication_id,
    location_id,
    lot_id,
    quantity,
    reserved_quantity,
    synced_at
FROM shared_stock_levels;

-- name: rows_patient()
SELECT
    id,
    patient_number,
    name,
    birth_date,
    sex,
    identity_type,
    identity_number,
    phone,
    email,
    language,
    active,
    company_id,
    synced_at
FROM shared_patients;

-- name: rows_movement()
-- What moved, from where and to where. The texts are left out: there may be millions of rows.
SELECT
    id,
    medication_id,
    lot_id,
    from_location_id,
    to_location_id,
    quantity,
    synced_at
FROM shared_stock_movements;

-- name: wrong_totals()
-- Products whose totals are not the sums they should be.
WITH held AS (
    SELECT
        level.medication_id,
        sum(level.quantity) AS quantity,
        sum(level.reserved_quantity) AS reserved_quantity
    FROM shared_stock_levels AS level
    GROUP BY level.medication_id
),

wanted AS (
    SELECT
        rule.medication_id,
        sum(rule.min_quantity) AS min_quantity,
        sum(rule.max_quantity) AS max_quantity
    FROM shared_reorder_rules AS rule
    WHERE rule.active
    GROUP BY rule.medication_id
)

SELECT
    medication.id,
    medication.stock_quantity,
    medication.reserved_quantity,
    medication.min_stock_level,
    medication.max_stock_level,
    coalesce(held.quantity, 0) AS right_stock_quantity,
    coalesce(held.reserved_quantity, 0) AS right_reserved_quantity,
    wanted.min_quantity AS right_min_stock_level,
    wanted.max_quantity AS right_max_stock_level
FROM shared_medications AS medication
LEFT JOIN held ON medication.id = held.medication_id
LEFT JOIN wanted ON medication.id = wanted.medication_id
WHERE
    (
        medication.stock_quantity, medication.reserved_quantity, medication.min_stock_level,
        medication.max_stock_level
    ) IS DISTINCT FROM (
        coalesce(held.quantity, 0), coalesce(held.reserved_quantity, 0), wanted.min_quantity, wanted.max_quantity
    );

-- name: set_aside_reasons()
SELECT
    entity,
    record_id,
    reason
FROM sync_rejects;

-- name: report_drift(run_id, entity, record_id, odoo_value, mirror_value, probable_cause, healed)!
INSERT INTO drift_reports (run_id, entity, record_id, odoo_value, mirror_value, probable_cause, healed)
VALUES (
    :run_id, :entity, :record_id, cast(:odoo_value AS jsonb), cast(:mirror_value AS jsonb), :probable_cause, :healed
);

-- name: prune_drift_reports(days, batch)!
DELETE FROM drift_reports
WHERE
    id IN (
        SELECT report.id FROM drift_reports AS report
        WHERE report.found_at < now() - make_interval(days => :days)
        ORDER BY report.found_at
        LIMIT :batch
    );
