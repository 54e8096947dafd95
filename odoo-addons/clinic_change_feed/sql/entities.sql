-- What the feed watches. One call a table and entity; sql/state/<entity>.sql says what is shown of it.

-- What an older version watched goes. Addons that register entities are updated with this one, by Odoo.
SELECT clinic_change_unwatch();

-- location: its own row, and the names of its company and warehouse. Renaming or moving a parent rewrites
-- complete_name and parent_path of the children: their own rows.
SELECT clinic_change_watch('stock_location', 'location',
    shown => '{complete_name,usage,active,parent_path,company_id,warehouse_id}');
SELECT clinic_change_watch('stock_warehouse', 'location', shown => '{name}', events => '{UPDATE}',
    via => 'JOIN stock_location AS l ON l.warehouse_id = r.id', keys => 'l.id');
SELECT clinic_change_watch('res_company', 'location', shown => '{name}', events => '{UPDATE}',
    via => 'JOIN stock_location AS l ON l.company_id = r.id', keys => 'l.id');

-- product: the variant, its template, and what the template names.
SELECT clinic_change_watch('product_product', 'product',
    shown => '{product_tmpl_id,default_code,barcode,active,standard_price}');
SELECT clinic_change_watch('product_template', 'product', events => '{UPDATE}',
    shown => '{name,list_price,categ_id,uom_id,company_id,is_storable,tracking}',
    via => 'JOIN product_product AS p ON p.product_tmpl_id = r.id', keys => 'p.id');
SELECT clinic_change_watch('product_category', 'product', shown => '{complete_name}', events => '{UPDATE}',
    via => 'JOIN product_template AS t ON t.categ_id = r.id JOIN product_product AS p ON p.product_tmpl_id = t.id',
    keys => 'p.id');
SELECT clinic_change_watch('uom_uom', 'product', shown => '{name}', events => '{UPDATE}',
    via => 'JOIN product_template AS t ON t.uom_id = r.id JOIN product_product AS p ON p.product_tmpl_id = t.id',
    keys => 'p.id');
-- A product without a company is priced in the main (first) company's currency.
SELECT clinic_change_watch('res_company', 'product', shown => '{currency_id}', events => '{UPDATE}',
    via => 'JOIN product_template AS t ON coalesce(t.company_id, (SELECT min(id) FROM res_company)) = r.id
            JOIN product_product AS p ON p.product_tmpl_id = t.id',
    keys => 'p.id');
SELECT clinic_change_watch('res_currency', 'product', shown => '{name}', events => '{UPDATE}',
    via => 'JOIN res_company AS c ON c.currency_id = r.id
            JOIN product_template AS t ON coalesce(t.company_id, (SELECT min(id) FROM res_company)) = c.id
            JOIN product_product AS p ON p.product_tmpl_id = t.id',
    keys => 'p.id');
-- Names are shown in every installed language.
SELECT clinic_change_watch('res_lang', 'product', shown => '{active,code}', events => '{INSERT,UPDATE}',
    rows => 'r.active', via => 'CROSS JOIN product_product AS p', keys => 'p.id');

-- lot
SELECT clinic_change_watch('stock_lot', 'lot',
    shown => '{product_id,name,expiration_date,removal_date,company_id}');

-- reorder_rule
SELECT clinic_change_watch('stock_warehouse_orderpoint', 'reorder_rule',
    shown => '{product_id,location_id,warehouse_id,company_id,product_min_qty,product_max_qty,active}');

-- stock_level: sums of quants. A location that becomes, or ceases to be, internal takes its quants along.
SELECT clinic_change_watch('stock_quant', 'stock_level',
    shown => '{product_id,location_id,lot_id,quantity,reserved_quantity}',
    keys => 'jsonb_build_array(r.product_id, r.location_id, coalesce(r.lot_id, 0))');
SELECT clinic_change_watch('stock_location', 'stock_level', shown => '{usage}', events => '{UPDATE}',
    via => 'JOIN stock_quant AS q ON q.location_id = r.id',
    keys => 'jsonb_build_array(q.product_id, q.location_id, coalesce(q.lot_id, 0))');

-- movement: done move lines, and what they show of their move.
SELECT clinic_change_watch('stock_move_line', 'movement',
    shown => '{move_id,product_id,lot_id,location_id,location_dest_id,quantity_product_uom,date,company_id,write_uid}',
    rows => $$r.state = 'done'$$);
SELECT clinic_change_watch('stock_move', 'movement', shown => '{reference,origin,is_inventory}',
    events => '{UPDATE}', keys => 'ml.id',
    via => $$JOIN stock_move_line AS ml ON ml.move_id = r.id AND ml.state = 'done'$$);
