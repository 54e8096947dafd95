SELECT
    l.id,
    l.complete_name AS name,
    l.usage,
    coalesce(l.active, false) AS active,
    l.parent_path,
    l.company_id,
    c.name AS company,
    l.warehouse_id,
    w.name AS warehouse
FROM stock_location AS l
LEFT JOIN res_company AS c ON c.id = l.company_id
LEFT JOIN stock_warehouse AS w ON w.id = l.warehouse_id
WHERE (%(ids)s::integer[] IS NULL OR l.id = ANY(%(ids)s::integer[])) AND l.id > %(after)s
ORDER BY l.id
LIMIT %(limit)s
