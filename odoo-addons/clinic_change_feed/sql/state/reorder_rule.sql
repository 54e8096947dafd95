SELECT
    o.id,
    o.product_id,
    o.location_id,
    o.warehouse_id,
    o.company_id,
    coalesce(o.product_min_qty, 0)::text AS min_quantity,
    coalesce(o.product_max_qty, 0)::text AS max_quantity,
    coalesce(o.active, false) AS active
FROM stock_warehouse_orderpoint AS o
WHERE (%(ids)s::integer[] IS NULL OR o.id = ANY(%(ids)s::integer[])) AND o.id > %(after)s
ORDER BY o.id
LIMIT %(limit)s
