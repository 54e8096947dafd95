-- What the shared database mirrors from Odoo's stock, and how far the mirror has come.
--
-- The mirrored tables have no foreign keys between them: a product that was set aside as unreadable
-- must not take its stock levels with it, and a page of changes may name a lot before the lot.
-- `generation` is the number of the full load that last saw the row: a full load marks what it finds,
-- then deletes what it did not find, so that the inventory is never empty while it runs.

CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;

CREATE EXTENSION IF NOT EXISTS unaccent WITH SCHEMA public;

-- unaccent() is only STABLE, because its dictionary could be edited; naming the dictionary makes it
-- safe to index. https://www.postgresql.org/docs/17/unaccent.html
CREATE FUNCTION searchable_text(words text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
RETURN lower(public.unaccent('public.unaccent'::regdictionary, words));

COMMENT ON FUNCTION searchable_text(text) IS 'Lower case without accents: what a search compares.';

CREATE TABLE shared_locations (
    id integer PRIMARY KEY,
    name text NOT NULL,
    usage text NOT NULL,
    active boolean NOT NULL,
    parent_path text,
    company_id integer,
    company text,
    warehouse_id integer,
    warehouse text,
    generation bigint NOT NULL,
    synced_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE shared_locations IS 'Stock locations of Odoo (stock.location), archived ones too.';
COMMENT ON COLUMN shared_locations.name IS 'Complete name, such as WH/Stock/Pharmacy.';
COMMENT ON COLUMN shared_locations.usage IS 'internal, transit, supplier, customer, inventory, production, view.';
COMMENT ON COLUMN shared_locations.parent_path IS
'Ids from the root down to this one, each followed by a slash. A subtree is what starts with it.';

CREATE TABLE shared_medications (
    id integer PRIMARY KEY,
    sku text,
    barcode text,
    name_es text NOT NULL,
    name_en text NOT NULL,
    category text,
    uom text NOT NULL,
    active boolean NOT NULL,
    tracking text NOT NULL,
    list_price numeric(16, 4),
    unit_cost numeric(16, 4),
    currency text,
    company_id integer,
    stock_quantity numeric NOT NULL DEFAULT 0,
    reserved_quantity numeric NOT NULL DEFAULT 0,
    min_stock_level numeric,
    max_stock_level numeric,
    search_text text NOT NULL GENERATED ALWAYS AS (
        searchable_text(name_es || ' ' || name_en || ' ' || coalesce(sku, '') || ' ' || coalesce(barcode, ''))
    ) STORED,
    generation bigint NOT NULL,
    synced_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE shared_medications IS
'Products that Odoo keeps in stock (product.product, storable), archived ones too, with their totals.';
COMMENT ON COLUMN shared_medications.id IS 'Id of product.product in Odoo.';
COMMENT ON COLUMN shared_medications.name_es IS 'Spanish name, or the name in another language where Odoo has none.';
COMMENT ON COLUMN shared_medications.name_en IS 'English name, or the name in another language where Odoo has none.';
COMMENT ON COLUMN shared_medications.uom IS 'The unit that every quantity of this product is in.';
COMMENT ON COLUMN shared_medications.tracking IS 'none, lot or serial.';
COMMENT ON COLUMN shared_medications.list_price IS 'Sales price of one unit, in currency.';
COMMENT ON COLUMN shared_medications.unit_cost IS 'Cost of one unit, in currency.';
COMMENT ON COLUMN shared_medications.stock_quantity IS
'On hand: the sum of shared_stock_levels.quantity, kept in the same transaction.';
COMMENT ON COLUMN shared_medications.reserved_quantity IS
'Promised to moves not done yet: the sum of shared_stock_levels.reserved_quantity.';
COMMENT ON COLUMN shared_medications.min_stock_level IS
'Sum of the minimums of its active reorder rules; null without rules.';
COMMENT ON COLUMN shared_medications.max_stock_level IS
'Sum of the maximums of its active reorder rules; null without rules.';
COMMENT ON COLUMN shared_medications.search_text IS
'Names, sku and barcode as searchable_text(); search with LIKE ''%'' || searchable_text(...) || ''%''.';
COMMENT ON COLUMN shared_medications.synced_at IS 'When this row last changed here.';

CREATE TABLE shared_lots (
    id integer PRIMARY KEY,
    medication_id integer NOT NULL,
    name text NOT NULL,
    expires_at timestamptz,
    removal_at timestamptz,
    company_id integer,
    generation bigint NOT NULL,
    synced_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE shared_lots IS 'Lots and serial numbers (stock.lot) with their expiry.';
COMMENT ON COLUMN shared_lots.expires_at IS 'After this the goods must not be used; null when Odoo knows none.';
COMMENT ON COLUMN shared_lots.removal_at IS 'After this the goods should be taken from the shelf.';

CREATE TABLE shared_reorder_rules (
    id integer PRIMARY KEY,
    medication_id integer NOT NULL,
    location_id integer NOT NULL,
    warehouse_id integer,
    company_id integer,
    min_quantity numeric NOT NULL,
    max_quantity numeric NOT NULL,
    active boolean NOT NULL,
    generation bigint NOT NULL,
    synced_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE shared_reorder_rules IS
'Minimum and maximum of one product in one location and all below it (stock.warehouse.orderpoint).';

CREATE TABLE shared_stock_levels (
    medication_id integer NOT NULL,
    location_id integer NOT NULL,
    lot_id integer NOT NULL DEFAULT 0,
    quantity numeric NOT NULL,
    reserved_quantity numeric NOT NULL,
    generation bigint NOT NULL,
    synced_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (medication_id, location_id, lot_id)
)
-- A level is updated far more often than inserted: room on the page keeps the updates in place (HOT).
WITH (fillfactor = 70);

COMMENT ON TABLE shared_stock_levels IS
'Stock of a product in a location (internal or transit) and lot: sums over Odoo''s stock.quant.';
COMMENT ON COLUMN shared_stock_levels.lot_id IS '0 for goods without a lot.';
COMMENT ON COLUMN shared_stock_levels.quantity IS 'On hand; negative after a miscount, as in Odoo.';

CREATE TABLE shared_stock_movements (
    id integer PRIMARY KEY,
    medication_id integer NOT NULL,
    lot_id integer,
    from_location_id integer NOT NULL,
    to_location_id integer NOT NULL,
    quantity numeric NOT NULL,
    reference text,
    origin text,
    is_inventory boolean NOT NULL,
    done_at timestamptz NOT NULL,
    done_by text,
    company_id integer,
    generation bigint NOT NULL,
    synced_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE shared_stock_movements IS 'Finished movements of goods (stock.move.line in state done).';
COMMENT ON COLUMN shared_stock_movements.quantity IS 'In the product''s own unit, whatever unit the movement was written in.';
COMMENT ON COLUMN shared_stock_movements.is_inventory IS 'True for the correction that a count made.';
COMMENT ON COLUMN shared_stock_movements.done_by IS 'Name of the Odoo user, null when Odoo knows none.';

CREATE TABLE sync_cursors (
    name text PRIMARY KEY,
    cursor text,
    generation bigint NOT NULL DEFAULT 0,
    load_generation bigint NOT NULL DEFAULT 0,
    load_cursor text,
    load_entity text,
    load_after text,
    load_reason text,
    load_began_at timestamptz,
    alerts_version bigint NOT NULL DEFAULT 0,
    alerts_refreshed_version bigint NOT NULL DEFAULT 0,
    alerts_dirty boolean NOT NULL GENERATED ALWAYS AS (alerts_version > alerts_refreshed_version) STORED,
    alerts_refreshed_at timestamptz,
    refresh_ms double precision,
    lag_ms double precision,
    pages bigint NOT NULL DEFAULT 0,
    changes bigint NOT NULL DEFAULT 0,
    rows_written bigint NOT NULL DEFAULT 0,
    fresh_at timestamptz,
    loaded_at timestamptz,
    reconciled_at timestamptz,
    reconciled_rows bigint,
    drifted_rows bigint,
    updated_at timestamptz NOT NULL DEFAULT now()
)
WITH (fillfactor = 50);

COMMENT ON TABLE sync_cursors IS
'How far each mirror has come. Locking a row FOR UPDATE is what keeps two writers apart.';
COMMENT ON COLUMN sync_cursors.cursor IS 'Opaque; the change feed of Odoo continues from it. Null before the first full load.';
COMMENT ON COLUMN sync_cursors.generation IS 'Number of the last finished full load.';
COMMENT ON COLUMN sync_cursors.load_generation IS
'Number of the last full load that began. Never used twice: what an abandoned load has marked is not found by the next.';
COMMENT ON COLUMN sync_cursors.load_cursor IS
'Set while a full load runs: where the feed continues after it. load_entity and load_after say how far the load is.';
COMMENT ON COLUMN sync_cursors.alerts_version IS
'Counts the pages that made low_stock_alerts out of date; a refresh stores the count it saw.';
COMMENT ON COLUMN sync_cursors.alerts_dirty IS 'low_stock_alerts has to be refreshed. Survives a kill between page and refresh.';
COMMENT ON COLUMN sync_cursors.lag_ms IS
'Of the last page with changes: from the oldest change in Odoo to its commit here.';
COMMENT ON COLUMN sync_cursors.fresh_at IS
'When the mirror last wrote or confirmed a page that said nothing more was waiting.';

CREATE TABLE sync_rejects (
    entity text NOT NULL,
    record_id text NOT NULL,
    reason text NOT NULL,
    payload text NOT NULL,
    times bigint NOT NULL DEFAULT 1,
    first_at timestamptz NOT NULL DEFAULT now(),
    last_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (entity, record_id)
);

COMMENT ON TABLE sync_rejects IS
'Changes that could not be mirrored. A row leaves by itself when a good version of its record arrives.';
COMMENT ON COLUMN sync_rejects.payload IS
'The change as JSON text. Not jsonb: what was refused may be just what jsonb refuses too.';

CREATE TABLE drift_reports (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id uuid NOT NULL,
    entity text NOT NULL,
    record_id text NOT NULL,
    odoo_value jsonb,
    mirror_value jsonb,
    probable_cause text NOT NULL,
    healed boolean NOT NULL,
    found_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE drift_reports IS 'One row for each record in which the mirror differed from Odoo at a reconcile.';
COMMENT ON COLUMN drift_reports.run_id IS 'The same for all rows of one reconcile.';
COMMENT ON COLUMN drift_reports.odoo_value IS 'Null: Odoo has no such record.';
COMMENT ON COLUMN drift_reports.mirror_value IS 'Null: the shared database had no such record.';

CREATE TABLE change_events (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE change_events IS
'What subscribers are told, in order. The number is sent by NOTIFY clinica_events at commit.';
COMMENT ON COLUMN change_events.kind IS
'inventory.changed, inventory.reloaded, or low_stock.changed. Payloads: docs/reference/shared-database.md.';

CREATE INDEX shared_medications_search_idx ON shared_medications USING gin (search_text gin_trgm_ops);
-- Hash, because these are looked up whole and may be longer than a btree entry can be.
CREATE INDEX shared_medications_sku_idx ON shared_medications USING hash (sku);
CREATE INDEX shared_medications_barcode_idx ON shared_medications USING hash (barcode);
CREATE INDEX shared_lots_medication_id_idx ON shared_lots (medication_id);
CREATE INDEX shared_lots_expires_at_idx ON shared_lots (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX shared_reorder_rules_medication_id_idx ON shared_reorder_rules (medication_id);
CREATE INDEX shared_stock_levels_location_id_idx ON shared_stock_levels (location_id);
CREATE INDEX shared_stock_levels_lot_id_idx ON shared_stock_levels (lot_id) WHERE lot_id <> 0;
CREATE INDEX shared_stock_movements_medication_id_done_at_idx ON shared_stock_movements (medication_id, done_at, id);
CREATE INDEX shared_stock_movements_done_at_idx ON shared_stock_movements (done_at, id);
CREATE INDEX drift_reports_found_at_idx ON drift_reports (found_at);
CREATE INDEX change_events_at_idx ON change_events (at);

REVOKE ALL ON SCHEMA public FROM public;
GRANT USAGE ON SCHEMA public TO clinica_sync, clinica_api, clinica_readonly;

GRANT SELECT, INSERT, UPDATE, DELETE ON
shared_locations,
shared_medications,
shared_lots,
shared_reorder_rules,
shared_stock_levels,
shared_stock_movements,
sync_cursors,
sync_rejects,
drift_reports,
change_events
TO clinica_sync;

GRANT SELECT ON
shared_locations,
shared_medications,
shared_lots,
shared_reorder_rules,
shared_stock_levels,
shared_stock_movements,
sync_cursors,
drift_reports,
change_events
TO clinica_api;

GRANT SELECT ON
shared_locations,
shared_medications,
shared_lots,
shared_reorder_rules,
shared_stock_levels,
shared_stock_movements
TO clinica_readonly;
