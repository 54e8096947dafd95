-- One row for each active reorder rule whose location, with everything below it, holds less than its minimum.
--
-- `low_stock` is the question itself, `low_stock_alerts` the stored answer that dashboards read. The mirror
-- compares the two for the products of a page, and refreshes only when they differ.
-- A location that could not be mirrored still counts as itself; only its subtree is unknown.

CREATE VIEW low_stock AS
SELECT
    rule.id AS rule_id,
    rule.medication_id,
    medication.sku,
    medication.name_es,
    medication.name_en,
    medication.uom,
    rule.location_id,
    place.name AS location,
    rule.warehouse_id,
    place.warehouse,
    rule.company_id,
    held.quantity,
    held.reserved_quantity,
    rule.min_quantity,
    rule.max_quantity,
    rule.min_quantity - held.quantity AS missing_quantity
FROM shared_reorder_rules AS rule
LEFT JOIN shared_medications AS medication ON rule.medication_id = medication.id
LEFT JOIN shared_locations AS place ON rule.location_id = place.id
INNER JOIN LATERAL (
    SELECT
        coalesce(sum(level.quantity), 0) AS quantity,
        coalesce(sum(level.reserved_quantity), 0) AS reserved_quantity
    FROM shared_stock_levels AS level
    LEFT JOIN shared_locations AS spot ON level.location_id = spot.id
    WHERE
        level.medication_id = rule.medication_id
        AND (level.location_id = rule.location_id OR starts_with(spot.parent_path, place.parent_path))
) AS held ON TRUE
WHERE
    rule.active
    AND medication.active IS NOT FALSE
    AND held.quantity < rule.min_quantity;

COMMENT ON VIEW low_stock IS 'What low_stock_alerts stores, computed now.';

CREATE MATERIALIZED VIEW low_stock_alerts AS
SELECT * FROM low_stock; -- noqa: AM04

-- REFRESH ... CONCURRENTLY needs it, and readers are never blocked.
CREATE UNIQUE INDEX low_stock_alerts_rule_id_idx ON low_stock_alerts (rule_id);
CREATE INDEX low_stock_alerts_medication_id_idx ON low_stock_alerts (medication_id);

COMMENT ON MATERIALIZED VIEW low_stock_alerts IS
'Reorder rules that are not met: refreshed by the mirror within a second of the change. One row a rule.';
COMMENT ON COLUMN low_stock_alerts.quantity IS 'On hand in the rule''s location and all below it.';
COMMENT ON COLUMN low_stock_alerts.missing_quantity IS 'How much the minimum is missed by.';

GRANT SELECT ON low_stock, low_stock_alerts TO clinica_sync, clinica_api, clinica_readonly;
-- The right to refresh without owning it (PostgreSQL 17). https://www.postgresql.org/docs/17/ddl-priv.html
GRANT MAINTAIN ON low_stock_alerts TO clinica_sync; -- noqa: PRS
