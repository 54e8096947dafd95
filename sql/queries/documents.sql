-- Documents on their way to a store, as the drains keep them.

-- name: try_drain_lock(lock_id)$
-- One drain a queue: what it finds half done was left by one that is no more.
SELECT pg_try_advisory_lock(:lock_id);

-- name: need_not_be_on_disk()$
-- For this transaction: what a crash of PostgreSQL loses of it is simply done again.
SELECT set_config('synchronous_commit', 'off', true);

-- name: begin_documents(document_ids, revisions, types, patient_ids, numbers, file_names, checksums, sizes, actor)
-- Nothing is returned for a document that is stored already.
WITH begun AS (
    INSERT INTO documents AS known
    (document_id, revision, document_type, patient_id, number, file_name, state, sha256, size_bytes)
    SELECT
        given.document_id,
        given.revision,
        given.document_type,
        given.patient_id,
        given.number,
        given.file_name,
        'storing' AS state,
        given.sha256,
        given.size_bytes
    FROM
        unnest(
            cast(:document_ids AS uuid[]),
            cast(:revisions AS integer[]),
            cast(:types AS text[]),
            cast(:patient_ids AS integer[]),
            cast(:numbers AS text[]),
            cast(:file_names AS text[]),
            cast(:checksums AS text[]),
            cast(:sizes AS bigint[])
        ) AS given (document_id, revision, document_type, patient_id, number, file_name, sha256, size_bytes)
    ON CONFLICT (document_id, revision) DO UPDATE
        SET
            state = 'storing',
            attempts = known.attempts + 1,
            sha256 = excluded.sha256,
            size_bytes = excluded.size_bytes,
            updated_at = now()
        WHERE known.state <> 'stored'
    RETURNING known.document_id, known.revision, known.reserved_id, known.reserved_in
),

told AS (
    INSERT INTO document_events (document_id, revision, state, actor)
    SELECT
        begun.document_id,
        begun.revision,
        'storing' AS state,
        :actor AS done_by
    FROM begun
)

SELECT
    begun.document_id,
    begun.revision,
    begun.reserved_id,
    begun.reserved_in
FROM begun;

-- name: add_steps(document_ids, revisions, states, instants, actors)!
-- What happened before a message came; each once, though the message comes again.
INSERT INTO document_events (document_id, revision, state, at, actor)
SELECT
    given.document_id,
    given.revision,
    given.state,
    given.at,
    given.actor
FROM
    unnest(
        cast(:document_ids AS uuid[]),
        cast(:revisions AS integer[]),
        cast(:states AS text[]),
        cast(:instants AS timestamptz[]),
        cast(:actors AS text[])
    ) AS given (document_id, revision, state, at, actor)
WHERE
    NOT EXISTS (
        SELECT
        FROM document_events AS known
        WHERE
            known.document_id = given.document_id
            AND known.revision = given.revision
            AND known.state = given.state
            AND known.at = given.at
    );

-- name: kept_documents(document_ids, revisions)
SELECT
    known.document_id,
    known.revision,
    known.sha256
FROM documents AS known
INNER JOIN
    unnest(cast(:document_ids AS uuid[]), cast(:revisions AS integer[])) AS given (document_id, revision)
    ON known.document_id = given.document_id AND known.revision = given.revision
WHERE known.state = 'stored';

-- name: reserve_documents(document_ids, revisions, stores, places, reserved_ids)!
UPDATE documents AS known
SET store = given.store, reserved_in = given.place, reserved_id = given.reserved_id, updated_at = now()
FROM
    unnest(
        cast(:document_ids AS uuid[]),
        cast(:revisions AS integer[]),
        cast(:stores AS text[]),
        cast(:places AS text[]),
        cast(:reserved_ids AS text[])
    ) AS given (document_id, revision, store, place, reserved_id)
WHERE known.document_id = given.document_id AND known.revision = given.revision;

-- name: store_documents(document_ids, revisions, stores, file_ids, urls, checksums, sizes)!
UPDATE documents AS known
SET
    state = 'stored',
    store = given.store,
    file_id = given.file_id,
    url = given.url,
    sha256 = given.sha256,
    size_bytes = given.size_bytes,
    last_reason = null,
    last_detail = null,
    stored_at = now(),
    updated_at = now()
FROM
    unnest(
        cast(:document_ids AS uuid[]),
        cast(:revisions AS integer[]),
        cast(:stores AS text[]),
        cast(:file_ids AS text[]),
        cast(:urls AS text[]),
        cast(:checksums AS text[]),
        cast(:sizes AS bigint[])
    ) AS given (document_id, revision, store, file_id, url, sha256, size_bytes)
WHERE
    known.document_id = given.document_id
    AND known.revision = given.revision
    AND known.state <> 'stored';

-- name: fail_documents(document_ids, revisions, states, reasons, details)!
UPDATE documents AS known
SET state = given.state, last_reason = given.reason, last_detail = given.detail, updated_at = now()
FROM
    unnest(
        cast(:document_ids AS uuid[]),
        cast(:revisions AS integer[]),
        cast(:states AS text[]),
        cast(:reasons AS text[]),
        cast(:details AS text[])
    ) AS given (document_id, revision, state, reason, detail)
WHERE
    known.document_id = given.document_id
    AND known.revision = given.revision
    AND known.state <> 'stored';

-- name: told_already(document_ids, revisions, kinds, occasions)
SELECT
    known.document_id,
    known.revision
FROM outbox AS known
INNER JOIN
    unnest(
        cast(:document_ids AS uuid[]),
        cast(:revisions AS integer[]),
        cast(:kinds AS text[]),
        cast(:occasions AS text[])
    ) AS given (document_id, revision, kind, occasion)
    ON
        known.document_id = given.document_id
        AND known.revision = given.revision
        AND known.kind = given.kind
        AND known.occasion = given.occasion;

-- name: add_events(document_ids, revisions, states, details, actor)
INSERT INTO document_events (document_id, revision, state, detail, actor)
SELECT
    given.document_id,
    given.revision,
    given.state,
    cast(given.detail AS jsonb) AS detail,
    :actor AS done_by
FROM
    unnest(
        cast(:document_ids AS uuid[]),
        cast(:revisions AS integer[]),
        cast(:states AS text[]),
        cast(:details AS text[])
    ) AS given (document_id, revision, state, detail)
RETURNING document_id, revision, number;

-- name: add_notifications(notification_ids, document_ids, revisions, kinds, occasions, payloads)
INSERT INTO outbox (notification_id, document_id, revision, kind, occasion, payload)
SELECT
    given.notification_id,
    given.document_id,
    given.revision,
    given.kind,
    given.occasion,
    cast(given.payload AS jsonb) AS payload
FROM
    unnest(
        cast(:notification_ids AS uuid[]),
        cast(:document_ids AS uuid[]),
        cast(:revisions AS integer[]),
        cast(:kinds AS text[]),
        cast(:occasions AS text[]),
        cast(:payloads AS text[])
    ) AS given (notification_id, document_id, revision, kind, occasion, payload)
ON CONFLICT (document_id, revision, kind, occasion) DO NOTHING
RETURNING notification_id;

-- name: tell_again(document_ids, revisions)!
-- Odoo sent stored documents once more: it is told where they lie, under the same ids as before.
UPDATE outbox SET sent_at = null
FROM unnest(cast(:document_ids AS uuid[]), cast(:revisions AS integer[])) AS given (document_id, revision)
WHERE
    outbox.document_id = given.document_id
    AND outbox.revision = given.revision
    AND outbox.kind = 'stored';

-- name: unsent_notifications(document_type, most)
-- Of one queue's documents, whose drain is the only one.
SELECT
    outbox.notification_id,
    outbox.payload
FROM outbox
WHERE outbox.sent_at IS null AND outbox.payload ->> 'document_type' = :document_type
ORDER BY outbox.created_at, outbox.notification_id
LIMIT :most;

-- name: mark_sent(notification_ids)!
UPDATE outbox SET sent_at = now()
WHERE notification_id = any(cast(:notification_ids AS uuid[]));
