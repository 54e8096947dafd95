-- Six medications, each with something else the matter; what the tests of the API look at.
INSERT INTO shared_locations (id, name, usage, active, parent_path, generation) VALUES
    (8, 'WH/Stock', 'internal', TRUE, '1/7/8/', 1),
    (9, 'WH/Stock/Farmacia', 'internal', TRUE, '1/7/8/9/', 1),
    (5, 'Partners/Customers', 'customer', TRUE, '2/5/', 1),
    (4, 'Partners/Vendors', 'supplier', TRUE, '2/4/', 1);
INSERT INTO shared_medications
    (id, sku, name_es, name_en, category, uom, active, tracking, stock_quantity, min_stock_level,
     max_stock_level, generation)
VALUES
    (1, 'A1', 'Ácido fólico 5 mg', 'Folic acid 5 mg', 'Vitaminas', 'Units', TRUE, 'lot', 40, 50, 100, 1),
    (2, 'A2', 'Ibuprofeno 600 mg', 'Ibuprofen 600 mg', 'Analgésicos', 'Units', TRUE, 'lot', 30, NULL, NULL, 1),
    (3, 'A3', '=1+1 Insulina', 'Insulin', 'Otros', 'Units', TRUE, 'none', 0, NULL, NULL, 1),
    (4, 'A4', 'Zinc 100%', 'Zinc', 'Otros', 'Units', TRUE, 'none', -2, NULL, NULL, 1),
    (5, 'A5', 'Archivado', 'Archived', 'Otros', 'Units', FALSE, 'none', 0, NULL, NULL, 1),
    (6, 'A6', 'Amoxicilina', 'Amoxicillin', 'Otros', 'Units', TRUE, 'none', 5, NULL, NULL, 1);
INSERT INTO shared_lots (id, medication_id, name, expires_at, generation) VALUES
    (11, 1, 'L-11', now() + interval '20 days', 1), (12, 2, 'L-12', now() - interval '1 day', 1);
INSERT INTO shared_stock_levels (medication_id, location_id, lot_id, quantity, reserved_quantity, generation)
VALUES (1, 9, 11, 40, 0, 1), (2, 9, 12, 30, 0, 1), (4, 8, 0, -2, 0, 1), (6, 8, 0, 5, 1, 1);
INSERT INTO shared_reorder_rules (id, medication_id, location_id, min_quantity, max_quantity, active, generation)
VALUES (21, 1, 8, 50, 100, TRUE, 1);
INSERT INTO shared_stock_movements
    (id, medication_id, from_location_id, to_location_id, quantity, reference, is_inventory, done_at, generation)
SELECT n, CASE WHEN n <= 8 THEN 1 ELSE 3 END, CASE WHEN n = 1 THEN 4 ELSE 9 END, CASE WHEN n = 1 THEN 9 ELSE 5 END,
    10, 'OUT/' || n, FALSE, now() - make_interval(days => 40 - n), 1 FROM generate_series(1, 10) AS n;
INSERT INTO sync_cursors (name, cursor, fresh_at) VALUES ('odoo.inventory', 'c', now());
REFRESH MATERIALIZED VIEW low_stock_alerts;
