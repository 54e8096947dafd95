-- Writing what a page of changes says. Rows come as one JSON array: one statement, one plan, any number of rows.
-- An upsert that changes nothing writes nothing, so that the count returned is the number of rows that changed.

-- name: upsert_location(generation, rows)!
INSERT INTO shared_locations AS kept (
    id, name, usage, active, parent_path, company_id, company, warehouse_id, warehouse, generation
)
SELECT
    new.id,
    new.name,
    new.usage,
    new.active,
    new.parent_path,
    new.company_id,
    new.company,
    new.warehouse_id,
    new.warehouse,
    :generation
FROM
    json_to_recordset(cast(:rows AS json))
        AS new (
            id integer,
            name text,
            usage text,
            active boolean,
            parent_path text,
            company_id integer,
            company text,
            warehouse_id integer,
            warehouse text
        )
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name,
    usage = excluded.usage,
    active = excluded.active,
    parent_path = excluded.parent_path,
    company_id = excluded.company_id,
    company = excluded.company,
    warehouse_id = excluded.warehouse_id,
    warehouse = excluded.warehouse,
    generation = excluded.generation,
    synced_at = clock_timestamp()
WHERE
(
    kept.name, kept.usage, kept.active, kept.parent_path, kept.company_id, kept.company,
    kept.warehouse_id, kept.warehouse, kept.generation
) IS DISTINCT FROM (
    excluded.name, excluded.usage, excluded.active, excluded.parent_path, excluded.company_id, excluded.company,
    excluded.warehouse_id, excluded.warehouse, excluded.generation
);

-- name: upsert_product(generation, rows)!
INSERT INTO shared_medications AS kept (
    id, sku, barcode, name_es, name_en, category, uom, active, tracking, list_price, unit_cost, currency, company_id,
    generation
)
SELECT
    new.id,
    new.sku,
    new.barcode,
    new.name_es,
    new.name_en,
    new.category,
    new.uom,
    new.active,
    new.tracking,
    new.list_price,
    new.unit_cost,
    new.currency,
    new.company_id,
    :generation
FROM
    json_to_recordset(cast(:rows AS json))
        AS new (
            id integer,
            sku text,
            barcode text,
            name_es text,
            name_en text,
            category text,
            uom text,
            active boolean,
            tracking text,
            list_price numeric(16, 4),
            unit_cost numeric(16, 4),
            currency text,
            company_id integer
        )
ON CONFLICT (id) DO UPDATE SET
    sku = excluded.sku,
    barcode = excluded.barcode,
    name_es = excluded.name_es,
    name_en = excluded.name_en,
    category = excluded.category,
    uom = excluded.uom,
    active = excluded.active,
    tracking = excluded.tracking,
    list_price = excluded.list_price,
    unit_cost = excluded.unit_cost,
    currency = excluded.currency,
    company_id = excluded.company_id,
    generation = excluded.generation,
    synced_at = clock_timestamp()
WHERE
(
    kept.sku, kept.barcode, kept.name_es, kept.name_en, kept.category, kept.uom, kept.active, kept.tracking,
    kept.list_price, kept.unit_cost, kept.currency, kept.company_id, kept.generation
) IS DISTINCT FROM (
    excluded.sku, excluded.barcode, excluded.name_es, excluded.name_en, excluded.category, excluded.uom,
    excluded.active, excluded.tracking, excluded.list_price, excluded.unit_cost, excluded.currency,
    excluded.company_id, excluded.generation
);

-- name: upsert_lot(generation, rows)!
INSERT INTO shared_lots AS kept (id, medication_id, name, expires_at, removal_at, company_id, generation)
SELECT
    new.id,
    new.medication_id,
    new.name,
    new.expires_at,
    new.removal_at,
    new.company_id,
    :generation
FROM
    json_to_recordset(cast(:rows AS json))
        AS new (
            id integer,
            medication_id integer,
            name text,
            expires_at timestamptz,
            removal_at timestamptz,
            company_id integer
        )
ON CONFLICT (id) DO UPDATE SET
    medication_id = excluded.medication_id,
    name = excluded.name,
    expires_at = excluded.expires_at,
    removal_at = excluded.removal_at,
    company_id = excluded.company_id,
    generation = excluded.generation,
    synced_at = clock_timestamp()
WHERE
(kept.medication_id, kept.name, kept.expires_at, kept.removal_at, kept.company_id, kept.generation)
IS DISTINCT FROM
(
    excluded.medication_id, excluded.name, excluded.expires_at, excluded.removal_at, excluded.company_id,
    excluded.generation
);

-- name: upsert_reorder_rule(generation, rows)!
INSERT INTO shared_reorder_rules AS kept (
    id, medication_id, location_id, warehouse_id, company_id, min_quantity, max_quantity, active, generation
)
SELECT
    new.id,
    new.medication_id,
    new.location_id,
    new.warehouse_id,
    new.company_id,
    new.min_quantity,
    new.max_quantity,
    new.active,
    :generation
FROM
    json_to_recordset(cast(:rows AS json))
        AS new (
            id integer,
            medication_id integer,
            location_id integer,
            warehouse_id integer,
            company_id integer,
            min_quantity numeric,
            max_quantity numeric,
            active boolean
        )
ON CONFLICT (id) DO UPDATE SET
    medication_id = excluded.medication_id,
    location_id = excluded.location_id,
    warehouse_id = excluded.warehouse_id,
    company_id = excluded.company_id,
    min_quantity = excluded.min_quantity,
    max_quantity = excluded.max_quantity,
    active = excluded.active,
    generation = excluded.generation,
    synced_at = clock_timestamp()
WHERE
(
    kept.medication_id, kept.location_id, kept.warehouse_id, kept.company_id, kept.min_quantity,
    kept.max_quantity, kept.active, kept.generation
) IS DISTINCT FROM (
    excluded.medication_id, excluded.location_id, excluded.warehouse_id, excluded.company_id,
    excluded.min_quantity, excluded.max_quantity, excluded.active, excluded.generation
);

-- name: upsert_stock_level(generation, rows)!
INSERT INTO shared_stock_levels AS kept (
    medication_id, location_id, lot_id, quantity, reserved_quantity, generation
)
SELECT
    new.medication_id,
    new.location_id,
    new.lot_id,
    new.quantity,
    new.reserved_quantity,
    :generation
FROM
    json_to_recordset(cast(:rows AS json))
        AS new (
            medication_id integer,
            location_id integer,
            lot_id integer,
            quantity numeric,
            reserved_quantity numeric
        )
ON CONFLICT (medication_id, location_id, lot_id) DO UPDATE SET
    quantity = excluded.quantity,
    reserved_quantity = excluded.reserved_quantity,
    generation = excluded.generation,
    synced_at = clock_timestamp()
WHERE
(kept.quantity, kept.reserved_quantity, kept.generation)
IS DISTINCT FROM
(excluded.quantity, excluded.reserved_quantity, excluded.generation);

-- name: upsert_movement(generation, rows)!
INSERT INTO shared_stock_movements AS kept (
    id, medication_id, lot_id, from_location_id, to_location_id, quantity, reference, origin, is_inventory, done_at,
    done_by, company_id, generation
)
SELECT
    new.id,
    new.medication_id,
    new.lot_id,
    new.from_location_id,
    new.to_location_id,
    new.quantity,
    new.reference,
    new.origin,
    new.is_inventory,
    new.done_at,
    new.done_by,
    new.company_id,
    :generation
FROM
    json_to_recordset(cast(:rows AS json))
        AS new (
            id integer,
            medication_id integer,
            lot_id integer,
            from_location_id integer,
            to_location_id integer,
            quantity numeric,
            reference text,
            origin text,
            is_inventory boolean,
            done_at timestamptz,
            done_by text,
            company_id integer
        )
ON CONFLICT (id) DO UPDATE SET
    medication_id = excluded.medication_id,
    lot_id = excluded.lot_id,
    from_location_id = excluded.from_location_id,
    to_location_id = excluded.to_location_id,
    quantity = excluded.quantity,
    reference = excluded.reference,
    origin = excluded.origin,
    is_inventory = excluded.is_inventory,
    done_at = excluded.done_at,
    done_by = excluded.done_by,
    company_id = excluded.company_id,
    generation = excluded.generation,
    synced_at = clock_timestamp()
WHERE
(
    kept.medication_id, kept.lot_id, kept.from_location_id, kept.to_location_id, kept.quantity, kept.reference,
    kept.origin, kept.is_inventory, kept.done_at, kept.done_by, kept.company_id, kept.generation
) IS DISTINCT FROM (
    excluded.medication_id, excluded.lot_id, excluded.from_location_id, excluded.to_location_id,
    excluded.quantity, excluded.reference, excluded.origin, excluded.is_inventory, excluded.done_at,
    excluded.done_by, excluded.company_id, excluded.generation
);

-- name: upsert_patient(generation, rows)!
INSERT INTO shared_patients AS kept (
    id, patient_number, name, birth_date, sex, identity_type, identity_number, phone, email, language, active,
    company_id, generation
)
SELECT
    new.id,
    new.patient_number,
    new.name,
    new.birth_date,
    new.sex,
    new.identity_type,
    new.identity_number,
    new.phone,
    new.email,
    new.language,
    new.active,
    new.company_id,
    :generation
FROM
    json_to_recordset(cast(:rows AS json))
        AS new (
            id integer,
            patient_number text,
            name text,
            birth_date date,
            sex text,
            identity_type text,
            identity_number text,
            phone text,
            email text,
            language text,
            active boolean,
            company_id integer
        )
ON CONFLICT (id) DO UPDATE SET
    patient_number = excluded.patient_number,
    name = excluded.name,
    birth_date = excluded.birth_date,
    sex = excluded.sex,
    identity_type = excluded.identity_type,
    identity_number = excluded.identity_number,
    phone = excluded.phone,
    email = excluded.email,
    language = excluded.language,
    active = excluded.active,
    company_id = excluded.company_id,
    generation = excluded.generation,
    synced_at = clock_timestamp()
WHERE
(
    kept.patient_number, kept.name, kept.birth_date, kept.sex, kept.identity_type, kept.identity_number,
    kept.phone, kept.email, kept.language, kept.active, kept.company_id, kept.generation
) IS DISTINCT FROM (
    excluded.patient_number, excluded.name, excluded.birth_date, excluded.sex, excluded.identity_type,
    excluded.identity_number, excluded.phone, excluded.email, excluded.language, excluded.active,
    excluded.company_id, excluded.generation
);

-- name: delete_location(ids)!
DELETE FROM shared_locations
WHERE id = any(cast(:ids AS integer[]));

-- name: delete_product(ids)!
DELETE FROM shared_medications
WHERE id = any(cast(:ids AS integer[]));

-- name: delete_lot(ids)!
DELETE FROM shared_lots
WHERE id = any(cast(:ids AS integer[]));

-- name: delete_reorder_rule(ids)!
DELETE FROM shared_reorder_rules
WHERE id = any(cast(:ids AS integer[]));

-- name: delete_stock_level(rows)!
DELETE FROM shared_stock_levels AS kept
USING
    json_to_recordset(cast(:rows AS json)) AS gone (medication_id integer, location_id integer, lot_id integer)
WHERE
    kept.medication_id = gone.medication_id
    AND kept.location_id = gone.location_id
    AND kept.lot_id = gone.lot_id;

-- name: delete_movement(ids)!
DELETE FROM shared_stock_movements
WHERE id = any(cast(:ids AS integer[]));

-- name: delete_patient(ids)!
DELETE FROM shared_patients
WHERE id = any(cast(:ids AS integer[]));

-- name: keep_location(ids, generation)!
-- Mark rows as seen by a full load without a new value: what Odoo holds now cannot be stored.
UPDATE shared_locations SET generation = :generation
WHERE id = any(cast(:ids AS integer[]));

-- name: keep_product(ids, generation)!
UPDATE shared_medications SET generation = :generation
WHERE id = any(cast(:ids AS integer[]));

-- name: keep_lot(ids, generation)!
UPDATE shared_lots SET generation = :generation
WHERE id = any(cast(:ids AS integer[]));

-- name: keep_reorder_rule(ids, generation)!
UPDATE shared_reorder_rules SET generation = :generation
WHERE id = any(cast(:ids AS integer[]));

-- name: keep_stock_level(rows, generation)!
UPDATE shared_stock_levels AS kept SET generation = :generation
FROM
    json_to_recordset(cast(:rows AS json)) AS seen (medication_id integer, location_id integer, lot_id integer)
WHERE
    kept.medication_id = seen.medication_id
    AND kept.location_id = seen.location_id
    AND kept.lot_id = seen.lot_id;

-- name: keep_movement(ids, generation)!
UPDATE shared_stock_movements SET generation = :generation
WHERE id = any(cast(:ids AS integer[]));

-- name: keep_patient(ids, generation)!
UPDATE shared_patients SET generation = :generation
WHERE id = any(cast(:ids AS integer[]));

-- name: medications_of_rules(ids)$
-- The products that these rules are about before they change.
SELECT coalesce(array_agg(DISTINCT rule.medication_id), '{}')
FROM shared_reorder_rules AS rule
WHERE rule.id = any(cast(:ids AS integer[]));

-- name: update_totals(ids)!
-- Set the totals of these products anew, from their levels and rules.
WITH touched AS (
    SELECT unnest(cast(:ids AS integer[])) AS id
),

held AS (
    SELECT
        level.medication_id,
        sum(level.quantity) AS quantity,
        sum(level.reserved_quantity) AS reserved_quantity
    FROM shared_stock_levels AS level
    WHERE level.medication_id = any(cast(:ids AS integer[]))
    GROUP BY level.medication_id
),

wanted AS (
    SELECT
        rule.medication_id,
        sum(rule.min_quantity) AS min_quantity,
        sum(rule.max_quantity) AS max_quantity
    FROM shared_reorder_rules AS rule
    WHERE rule.active AND rule.medication_id = any(cast(:ids AS integer[]))
    GROUP BY rule.medication_id
),

total AS (
    SELECT
        touched.id,
        coalesce(held.quantity, 0) AS stock_quantity,
        coalesce(held.reserved_quantity, 0) AS reserved_quantity,
        wanted.min_quantity AS min_stock_level,
        wanted.max_quantity AS max_stock_level
    FROM touched
    LEFT JOIN held ON touched.id = held.medication_id
    LEFT JOIN wanted ON touched.id = wanted.medication_id
)

UPDATE shared_medications AS kept
SET
    stock_quantity = total.stock_quantity,
    reserved_quantity = total.reserved_quantity,
    min_stock_level = total.min_stock_level,
    max_stock_level = total.max_stock_level,
    synced_at = clock_timestamp()
FROM total
WHERE
    kept.id = total.id
    AND (kept.stock_quantity, kept.reserved_quantity, kept.min_stock_level, kept.max_stock_level)
    IS DISTINCT FROM
    (total.stock_quantity, total.reserved_quantity, total.min_stock_level, total.max_stock_level);

-- name: all_medication_ids()$
SELECT coalesce(array_agg(medication.id), '{}') FROM shared_medications AS medication;

-- name: sweep_patient(generation)!
DELETE FROM shared_patients
WHERE generation < :generation;

-- name: sweep_location(generation)!
DELETE FROM shared_locations
WHERE generation < :generation;

-- name: sweep_product(generation)!
DELETE FROM shared_medications
WHERE generation < :generation;

-- name: sweep_lot(generation)!
DELETE FROM shared_lots
WHERE generation < :generation;

-- name: sweep_reorder_rule(generation)!
DELETE FROM shared_reorder_rules
WHERE generation < :generation;

-- name: sweep_stock_level(generation)!
DELETE FROM shared_stock_levels
WHERE generation < :generation;

-- name: sweep_movement(generation)!
DELETE FROM shared_stock_movements
WHERE generation < :generation;

-- name: set_aside(entity, record_id, reason, payload)!
INSERT INTO sync_rejects AS kept (entity, record_id, reason, payload)
VALUES (:entity, :record_id, :reason, :payload)
ON CONFLICT (entity, record_id) DO UPDATE SET
    reason = excluded.reason,
    payload = excluded.payload,
    times = kept.times + 1,
    last_at = clock_timestamp();

-- name: forget_rejects(entity, record_ids)!
-- A good version of these records has arrived.
DELETE FROM sync_rejects
WHERE entity = :entity AND record_id = any(cast(:record_ids AS text[]));

-- name: forget_all_rejects()!
DELETE FROM sync_rejects;

-- name: announce(kind, payload)$
-- Number an event and tell listeners its number. The cursor's row is locked, so numbers commit in order.
WITH event AS (
    INSERT INTO change_events (kind, payload) VALUES (:kind, cast(:payload AS jsonb)) RETURNING number
)

SELECT event.number
FROM event, pg_notify('clinica_events', cast((SELECT e.number FROM event AS e) AS text));

-- name: prune_events(days, batch)!
DELETE FROM change_events
WHERE
    number IN (
        SELECT event.number FROM change_events AS event
        WHERE event.at < now() - make_interval(days => :days)
        ORDER BY event.at
        LIMIT :batch
    );
