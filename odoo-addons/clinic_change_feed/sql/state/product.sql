-- The price stands in the currency of the product's company, or of the main (first) company, and the cost
-- is that company's, as Odoo shows them (product.template.currency_id, cost_currency_id).
-- Names: each installed language, falling back on the source text as Odoo does.
SELECT
    p.id,
    p.default_code AS sku,
    p.barcode,
    (
        SELECT jsonb_object_agg(g.code, coalesce(t.name ->> g.code, t.name ->> 'en_US'))
        FROM res_lang AS g
        WHERE g.active
    ) AS name,
    k.complete_name AS category,
    u.name ->> 'en_US' AS uom,
    coalesce(p.active, false) AS active,
    coalesce(t.is_storable, false) AS storable,
    coalesce(t.tracking, 'none') AS tracking,
    coalesce(t.list_price, 0)::text AS list_price,
    coalesce(p.standard_price ->> c.id::text, '0') AS unit_cost,
    m.name AS currency,
    t.company_id
FROM product_product AS p
INNER JOIN product_template AS t ON t.id = p.product_tmpl_id
INNER JOIN res_company AS c ON c.id = coalesce(t.company_id, (SELECT min(x.id) FROM res_company AS x))
INNER JOIN res_currency AS m ON m.id = c.currency_id
LEFT JOIN product_category AS k ON k.id = t.categ_id
LEFT JOIN uom_uom AS u ON u.id = t.uom_id
WHERE (%(ids)s::integer[] IS NULL OR p.id = ANY(%(ids)s::integer[])) AND p.id > %(after)s
ORDER BY p.id
LIMIT %(limit)s
