-- Sums over the quants of a key (owners and packages fold together). The condition on product_id alone lets
-- PostgreSQL use the index of stock_quant when only some keys are asked for.
SELECT
    format('%%s:%%s:%%s', q.product_id, q.location_id, coalesce(q.lot_id, 0)) AS id,
    q.product_id,
    q.location_id,
    nullif(coalesce(q.lot_id, 0), 0) AS lot_id,
    sum(coalesce(q.quantity, 0))::text AS quantity,
    sum(coalesce(q.reserved_quantity, 0))::text AS reserved_quantity
FROM stock_quant AS q
INNER JOIN stock_location AS l ON l.id = q.location_id AND l.usage IN ('internal', 'transit')
WHERE
    (
        %(keys)s::jsonb IS NULL
        OR (
            q.product_id = ANY(ARRAY(SELECT (k.value ->> 0)::integer FROM jsonb_array_elements(%(keys)s::jsonb) AS k))
            AND (q.product_id, q.location_id, coalesce(q.lot_id, 0)) IN (
                SELECT (k.value ->> 0)::integer, (k.value ->> 1)::integer, (k.value ->> 2)::integer
                FROM jsonb_array_elements(%(keys)s::jsonb) AS k
            )
        )
    )
    AND (q.product_id, q.location_id, coalesce(q.lot_id, 0))
    > ((%(after)s::integer[])[1], (%(after)s::integer[])[2], (%(after)s::integer[])[3])
GROUP BY q.product_id, q.location_id, coalesce(q.lot_id, 0)
ORDER BY q.product_id, q.location_id, coalesce(q.lot_id, 0)
LIMIT %(limit)s
