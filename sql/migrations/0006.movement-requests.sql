-- Movements that other systems ask for: each is booked in Odoo once, or ends as a conflict that a person sees.

CREATE TABLE movement_requests (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    idempotency_key text NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    client text NOT NULL CHECK (length(client) BETWEEN 1 AND 255),
    person text NOT NULL CHECK (length(person) <= 255),
    kind text NOT NULL CHECK (kind IN ('in', 'out', 'adjustment', 'count')),
    medication_id integer NOT NULL,
    location_id integer NOT NULL,
    lot_id integer,
    lot_name text CHECK (length(lot_name) BETWEEN 1 AND 255),
    quantity numeric NOT NULL CHECK (quantity BETWEEN -1e12 AND 1e12),
    expected_quantity numeric CHECK (expected_quantity BETWEEN -1e12 AND 1e12),
    reason text CHECK (length(reason) <= 1000),
    reference text CHECK (length(reference) <= 255),
    source text NOT NULL CHECK (length(source) BETWEEN 1 AND 50),
    occurred_at timestamptz NOT NULL DEFAULT now(),
    recount_of uuid UNIQUE REFERENCES movement_requests (id),
    apply_anyway boolean NOT NULL DEFAULT FALSE,
    state text NOT NULL DEFAULT 'pending' CHECK (
        state IN ('pending', 'applying', 'applied', 'conflict', 'discarded')
    ),
    odoo_picking text,
    odoo_move_ids integer[] NOT NULL DEFAULT '{}',
    error_code text,
    error_detail text,
    attempts integer NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    applied_at timestamptz,
    UNIQUE (client, idempotency_key),
    CHECK (
        CASE kind
            WHEN 'count' THEN quantity >= 0
            WHEN 'adjustment' THEN quantity <> 0
            ELSE quantity > 0
        END
    ),
    CHECK (kind = 'count' OR expected_quantity IS NULL),
    CHECK ((state = 'applied') = (applied_at IS NOT NULL))
);

COMMENT ON TABLE movement_requests IS
'Movements asked for by other systems and people; the synchronisation books each in Odoo, once by its id.';
COMMENT ON COLUMN movement_requests.id IS 'Odoo remembers it: the same request is never booked twice.';
COMMENT ON COLUMN movement_requests.client IS 'The program that asked (azp or sub of its token).';
COMMENT ON COLUMN movement_requests.quantity IS
'In the product''s unit. in and out: how much moved; adjustment: what is added, or taken where negative; count: what is there.';
COMMENT ON COLUMN movement_requests.expected_quantity IS
'Of a count: what the person was shown. Odoo''s own differs at that moment: a conflict.';
COMMENT ON COLUMN movement_requests.recount_of IS 'The request whose conflict this count resolves.';
COMMENT ON COLUMN movement_requests.apply_anyway IS 'A person saw the conflict and wants it booked nevertheless.';
COMMENT ON COLUMN movement_requests.state IS
'applying: being booked, or left so by a process that was killed; it is taken up again after next_at.';
COMMENT ON COLUMN movement_requests.odoo_picking IS 'Name of Odoo''s transfer; null for adjustments and counts.';
COMMENT ON COLUMN movement_requests.odoo_move_ids IS 'Ids of stock.move.';
COMMENT ON COLUMN movement_requests.error_code IS
'Of a conflict its code; transient while it is tried again.';
COMMENT ON COLUMN movement_requests.next_at IS 'When it is tried next.';

CREATE INDEX movement_requests_due_idx ON movement_requests (next_at) WHERE state IN ('pending', 'applying');
CREATE INDEX movement_requests_created_at_idx ON movement_requests (created_at, id);
CREATE INDEX movement_requests_medication_id_idx ON movement_requests (medication_id, created_at);

CREATE TABLE sync_conflicts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request_id uuid NOT NULL REFERENCES movement_requests (id),
    code text NOT NULL CHECK (
        code IN (
            'not_enough_stock',
            'lot_expired',
            'lot_unknown',
            'product_unknown',
            'product_archived',
            'location_unknown',
            'count_differs',
            'refused'
        )
    ),
    ours jsonb NOT NULL,
    theirs jsonb NOT NULL,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'resolved')),
    resolution text CHECK (resolution IN ('apply_anyway', 'discard', 'recount')),
    resolved_by text CHECK (length(resolved_by) <= 255),
    resolved_at timestamptz,
    note text CHECK (length(note) <= 1000),
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((state = 'resolved') = (resolution IS NOT NULL AND resolved_by IS NOT NULL AND resolved_at IS NOT NULL))
);

COMMENT ON TABLE sync_conflicts IS 'Movements that Odoo could not book, with both sides'' values, until a person decides.';
COMMENT ON COLUMN sync_conflicts.ours IS 'What Odoo has, such as its quantity and the lot''s expiry; detail says why in a sentence.';
COMMENT ON COLUMN sync_conflicts.theirs IS 'What the request said.';

CREATE UNIQUE INDEX sync_conflicts_open_idx ON sync_conflicts (request_id) WHERE state = 'open';
CREATE INDEX sync_conflicts_state_idx ON sync_conflicts (state, id);

CREATE FUNCTION tell_of_movement_request() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public
AS $$
DECLARE
    event bigint;
BEGIN
    IF new.state = 'pending' THEN
        PERFORM pg_notify('clinica_movement_requests', cast(new.id AS text));
    END IF;
    -- Who announces holds this lock, so that numbers commit in their order.
    PERFORM FROM sync_cursors AS place WHERE place.name = 'odoo.inventory' FOR NO KEY UPDATE;
    INSERT INTO change_events (kind, payload)
    VALUES ('movement.changed', jsonb_build_object('request_id', new.id, 'state', new.state))
    RETURNING number INTO event;
    PERFORM pg_notify('clinica_events', cast(event AS text));
    RETURN NULL;
END
$$;

-- Deferred: the mirror waits for this lock as long as a commit takes, not as long as a transaction.
CREATE CONSTRAINT TRIGGER movement_requests_inserted
AFTER INSERT ON movement_requests
DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION tell_of_movement_request();

CREATE CONSTRAINT TRIGGER movement_requests_changed
AFTER UPDATE OF state ON movement_requests
DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (old.state IS DISTINCT FROM new.state) EXECUTE FUNCTION tell_of_movement_request();

CREATE FUNCTION resolve_sync_conflict(
    conflict_id bigint,
    decision text,
    decided_by text,
    decision_note text DEFAULT NULL,
    counted numeric DEFAULT NULL,
    expected numeric DEFAULT NULL
) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public
AS $$
DECLARE
    conflict sync_conflicts;
    request movement_requests;
    follows uuid;
BEGIN
    SELECT * INTO conflict FROM sync_conflicts WHERE id = conflict_id FOR UPDATE;
    IF NOT found THEN
        RAISE no_data_found USING MESSAGE = format('There is no conflict %s', conflict_id);
    END IF;
    SELECT * INTO request FROM movement_requests WHERE id = conflict.request_id FOR UPDATE;
    IF conflict.state = 'resolved' THEN
        IF conflict.resolution IS DISTINCT FROM decision THEN
            RAISE object_not_in_prerequisite_state USING MESSAGE =
                format('Conflict %s was resolved by %s: %s', conflict_id, conflict.resolved_by, conflict.resolution);
        END IF;
        SELECT id INTO follows FROM movement_requests WHERE recount_of = request.id;
        RETURN coalesce(follows, request.id);
    END IF;
    IF (decision = 'recount') <> (counted IS NOT NULL) THEN
        RAISE invalid_parameter_value USING MESSAGE = 'A recount, and nothing else, comes with what was counted';
    END IF;
    UPDATE sync_conflicts
    SET
        state = 'resolved', resolution = decision, resolved_by = decided_by,
        resolved_at = clock_timestamp(), note = decision_note
    WHERE id = conflict_id;
    IF decision = 'apply_anyway' THEN
        UPDATE movement_requests
        SET
            state = 'pending', apply_anyway = TRUE, attempts = 0, next_at = clock_timestamp(),
            updated_at = clock_timestamp(), error_code = NULL, error_detail = NULL
        WHERE id = request.id;
        RETURN request.id;
    END IF;
    UPDATE movement_requests
    SET state = 'discarded', updated_at = clock_timestamp()
    WHERE id = request.id;
    IF decision = 'discard' THEN
        RETURN request.id;
    END IF;
    INSERT INTO movement_requests (
        idempotency_key, client, person, kind, medication_id, location_id, lot_id, lot_name,
        quantity, expected_quantity, reason, reference, source, recount_of
    )
    VALUES (
        'recount of ' || request.id, request.client, decided_by, 'count', request.medication_id,
        request.location_id, request.lot_id, request.lot_name,
        counted, expected, coalesce(decision_note, request.reason), request.reference, request.source, request.id
    )
    RETURNING id INTO follows;
    RETURN follows;
END
$$;

COMMENT ON FUNCTION resolve_sync_conflict(bigint, text, text, text, numeric, numeric) IS
'Carries out what a person decided (apply_anyway, discard, recount) and returns the request that goes on. The same decision again changes nothing; another is refused.';

REVOKE ALL ON FUNCTION tell_of_movement_request() FROM public;
REVOKE ALL ON FUNCTION resolve_sync_conflict(bigint, text, text, text, numeric, numeric) FROM public;
GRANT EXECUTE ON FUNCTION resolve_sync_conflict(bigint, text, text, text, numeric, numeric)
TO clinica_api, clinica_sync;

GRANT SELECT, INSERT, UPDATE ON movement_requests, sync_conflicts TO clinica_sync;
GRANT SELECT ON movement_requests, sync_conflicts TO clinica_api;
-- Not what became of it: that is the synchronisation's to say.
GRANT INSERT (
    id, idempotency_key, client, person, kind, medication_id, location_id, lot_id, lot_name,
    quantity, expected_quantity, reason, reference, source, occurred_at
) ON movement_requests TO clinica_api;

COMMENT ON COLUMN change_events.kind IS
'inventory.changed, inventory.reloaded, low_stock.changed or movement.changed. Payloads: docs/reference/shared-database.md.';
