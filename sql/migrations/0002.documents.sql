-- Documents on their way from Odoo to a store: where each is, what happened to it, and what people are told.

CREATE TABLE documents (
    document_id uuid NOT NULL,
    revision integer NOT NULL,
    document_type text NOT NULL,
    patient_id integer,
    number text NOT NULL,
    file_name text NOT NULL,
    state text NOT NULL CHECK (state IN ('storing', 'retrying', 'parked', 'stored')),
    store text,
    reserved_id text,
    file_id text,
    url text,
    sha256 text NOT NULL,
    size_bytes bigint NOT NULL,
    attempts integer NOT NULL DEFAULT 1,
    last_reason text,
    last_detail text,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    stored_at timestamptz,
    PRIMARY KEY (document_id, revision),
    CHECK ((state = 'stored') = (stored_at IS NOT NULL)),
    CHECK (state <> 'stored' OR (store IS NOT NULL AND file_id IS NOT NULL AND url IS NOT NULL))
);

COMMENT ON TABLE documents IS
'Each revision of each document that a drain has seen. A row in state stored is why its message is never stored twice.';
COMMENT ON COLUMN documents.document_id IS 'The document''s id in Odoo and in messages.';
COMMENT ON COLUMN documents.patient_id IS 'Id of res.partner in Odoo; null for an invoice to somebody who is no patient.';
COMMENT ON COLUMN documents.number IS 'What people call it, such as INV/2026/00001.';
COMMENT ON COLUMN documents.reserved_id IS
'The id that the store gave before the upload, so that a repeat after a kill finds the first one.';
COMMENT ON COLUMN documents.attempts IS 'How often storing it was begun.';
COMMENT ON COLUMN documents.last_detail IS 'The last failure, as a sentence for a person.';

CREATE TABLE document_events (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    document_id uuid NOT NULL,
    revision integer NOT NULL,
    state text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    detail jsonb NOT NULL DEFAULT '{}',
    actor text NOT NULL
);

COMMENT ON TABLE document_events IS
'The timeline of each document: storing, retrying, parked, stored, mail_sent, mail_failed, mail_uncertain.';
COMMENT ON COLUMN document_events.number IS
'Grows with every event of a document; a reader ignores an older one than it has seen.';
COMMENT ON COLUMN document_events.actor IS 'Which DAG did it.';

CREATE INDEX document_events_document_idx ON document_events (document_id, revision, number);
CREATE INDEX document_events_at_idx ON document_events (at);

CREATE TABLE outbox (
    notification_id uuid PRIMARY KEY,
    document_id uuid NOT NULL,
    revision integer NOT NULL,
    kind text NOT NULL CHECK (kind IN ('stored', 'retrying', 'parked')),
    occasion text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    UNIQUE (document_id, revision, kind, occasion)
);

COMMENT ON TABLE outbox IS
'Notifications to publish, written in the transaction of what they tell. One that was published twice is known by its id.';
COMMENT ON COLUMN outbox.occasion IS
'Empty for stored, which happens once; else which message and attempt it was, so that a repeat after a kill says nothing twice.';
COMMENT ON COLUMN outbox.payload IS 'The whole message body: docs/reference/messages/notification.schema.json.';

CREATE INDEX outbox_unsent_idx ON outbox (created_at) WHERE sent_at IS NULL;

CREATE TABLE document_mails (
    notification_id uuid NOT NULL,
    recipient text NOT NULL,
    state text NOT NULL CHECK (state IN ('claimed', 'sent', 'failed', 'uncertain')),
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (notification_id, recipient)
);

COMMENT ON TABLE document_mails IS
'Who was sent what by e-mail. Claimed before the mail server hears of it, so that nobody is sent a mail twice.';

CREATE TABLE document_replays (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    who text NOT NULL,
    why text NOT NULL,
    queue text NOT NULL,
    message_id text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE document_replays IS 'Who sent which parked message on again, and why.';
COMMENT ON COLUMN document_replays.message_id IS 'Document id and revision with a dot between; empty when it had none.';

GRANT SELECT, INSERT, UPDATE, DELETE ON
documents,
document_events,
outbox,
document_mails,
document_replays
TO clinica_sync;

GRANT SELECT ON documents, document_events TO clinica_api;
