-- Done move lines: what really moved. quantity_product_uom is the quantity in the product's own unit.
-- The user is who last wrote the line, which at the moment it is done is who validated it.
SELECT
    l.id,
    l.product_id,
    l.lot_id,
    l.location_id AS from_location_id,
    l.location_dest_id AS to_location_id,
    coalesce(l.quantity_product_uom, 0)::text AS quantity,
    m.reference,
    m.origin,
    coalesce(m.is_inventory, false) AS is_inventory,
    clinic_change_utc(l.date) AS done_at,
    u.login AS "user",
    l.company_id
FROM stock_move_line AS l
LEFT JOIN stock_move AS m ON m.id = l.move_id
LEFT JOIN res_users AS u ON u.id = l.write_uid
WHERE
    l.state = 'done'
    AND (%(ids)s::integer[] IS NULL OR l.id = ANY(%(ids)s::integer[]))
    AND l.id > %(after)s
ORDER BY l.id
LIMIT %(limit)s
