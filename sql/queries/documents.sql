-- Documents on their way to a store, as the drains keep them.

-- name: try_drain_lock(lock_id)$
-- One drain a queue: what it finds half done was left by one that is no more.
SELECT pg_try_advisory_lock(:lock_id);

-- name: begin_document(document_id, revision, document_type, patient_id, number, file_name, sha256, size_bytes)^
-- Nothing is returned for a document that is stored already.
INSERT INTO documents AS known
(document_id, revision, document_type, patient_id, number, file_name, state, sha256, size_bytes)
VALUES
(:document_id, :revision, :document_type, :patient_id, :number, :file_name, 'storing', :sha256, :size_bytes)
ON CONFLICT (document_id, revision) DO UPDATE
    SET
        state = 'storing',
        attempts = known.attempts + 1,
        sha256 = excluded.sha256,
        size_bytes = excluded.size_bytes,
        updated_at = now()
    WHERE known.state <> 'stored'
RETURNING known.reserved_id, known.store;

-- name: reserve_document(document_id, revision, store, reserved_id)!
UPDATE documents SET store = :store, reserved_id = :reserved_id, updated_at = now()
WHERE document_id = :document_id AND revision = :revision;

-- name: store_document(document_id, revision, store, file_id, url, sha256, size_bytes)!
UPDATE documents
SET
    state = 'stored',
    store = :store,
    file_id = :file_id,
    url = :url,
    sha256 = :sha256,
    size_bytes = :size_bytes,
    last_reason = NULL,
    last_detail = NULL,
    stored_at = now(),
    updated_at = now()
WHERE document_id = :document_id AND revision = :revision AND state <> 'stored';

-- name: fail_document(document_id, revision, state, reason, detail)!
UPDATE documents
SET state = :state, last_reason = :reason, last_detail = :detail, updated_at = now()
WHERE document_id = :document_id AND revision = :revision AND state <> 'stored';

-- name: add_event(document_id, revision, state, detail, actor)$
INSERT INTO document_events (document_id, revision, state, detail, actor)
VALUES (:document_id, :revision, :state, cast(:detail AS jsonb), :actor)
RETURNING number;

-- name: add_notification(notification_id, document_id, revision, kind, occasion, payload)!
INSERT INTO outbox (notification_id, document_id, revision, kind, occasion, payload)
VALUES (:notification_id, :document_id, :revision, :kind, :occasion, cast(:payload AS jsonb))
ON CONFLICT (document_id, revision, kind, occasion) DO NOTHING;

-- name: tell_again(document_id, revision)!
-- Odoo sent a stored document once more: it is told where the document lies, under the same id as before.
UPDATE outbox SET sent_at = NULL
WHERE document_id = :document_id AND revision = :revision AND kind = 'stored';

-- name: unsent_notifications(most)
-- Locked until they are marked, so that two drains do not publish the same.
SELECT
    notification_id,
    payload
FROM outbox
WHERE sent_at IS NULL
ORDER BY created_at, notification_id
LIMIT :most
FOR UPDATE SKIP LOCKED;

-- name: mark_sent(notification_ids)!
UPDATE outbox SET sent_at = now()
WHERE notification_id = any(:notification_ids);
