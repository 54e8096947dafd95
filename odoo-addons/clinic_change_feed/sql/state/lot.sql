SELECT
    o.id,
    o.product_id,
    o.name,
    clinic_change_utc(o.expiration_date) AS expires_at,
    clinic_change_utc(o.removal_date) AS removal_at,
    o.company_id
FROM stock_lot AS o
WHERE (%(ids)s::integer[] IS NULL OR o.id = ANY(%(ids)s::integer[])) AND o.id > %(after)s
ORDER BY o.id
LIMIT %(limit)s
