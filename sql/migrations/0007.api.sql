-- What the inventory API needs beyond what is mirrored: an order for its lists, and a memory of keys.

-- A list of medications goes by name as a person reads it: accents and capitals aside. Cut, because an
-- entry of a btree index may not be longer than 2,704 bytes and a name may.
CREATE INDEX shared_medications_sort_idx ON shared_medications (left(searchable_text(name_es), 200), id);

CREATE TABLE api_idempotency_keys (
    client text NOT NULL,
    idempotency_key text NOT NULL,
    digest text NOT NULL,
    request_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (client, idempotency_key)
);

COMMENT ON TABLE api_idempotency_keys IS
'Which request a key of a client stands for: the same key with another body is refused.';
COMMENT ON COLUMN api_idempotency_keys.digest IS 'SHA-256 of what was asked, its fields in one order.';

GRANT SELECT, INSERT ON api_idempotency_keys TO clinica_api;
