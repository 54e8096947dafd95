-- Who was sent what by e-mail, and who replayed what.

-- name: try_notifier_lock(lock_id)$
-- One notifier at a time: a claim that it finds was made by one that is no more.
SELECT pg_try_advisory_lock(:lock_id);

-- name: claim_mail(notification_id, recipient, attempt, is_carried)!
-- A message carries the mails that the attempt before it surely did not send: what that one claimed is free again.
INSERT INTO document_mails AS known (notification_id, recipient, state, attempt)
VALUES (:notification_id, :recipient, 'claimed', :attempt)
ON CONFLICT (notification_id, recipient) DO UPDATE
    SET attempt = excluded.attempt, at = now()
    WHERE known.state = 'claimed' AND known.attempt < excluded.attempt AND :is_carried;

-- name: mail_state(notification_id, recipient)$
SELECT mail.state FROM document_mails AS mail
WHERE mail.notification_id = :notification_id AND mail.recipient = :recipient;

-- name: release_mail(notification_id, recipient)!
DELETE FROM document_mails
WHERE notification_id = :notification_id AND recipient = :recipient AND state = 'claimed';

-- name: settle_mail(state, notification_id, recipient)!
UPDATE document_mails SET state = :state
WHERE notification_id = :notification_id AND recipient = :recipient;

-- name: tell_timeline(document_id, revision, state, detail, actor)!
INSERT INTO document_events (document_id, revision, state, detail, actor)
VALUES (:document_id, :revision, :state, cast(:detail AS jsonb), :actor);

-- name: read_timeline(document_id)
-- The whole path: what Odoo and the drains did, what was told of it, and who replayed it.
SELECT
    path.at,
    path.revision,
    path.state,
    path.actor,
    path.detail
FROM (
    SELECT
        at,
        number,
        revision,
        state,
        actor,
        detail
    FROM document_events
    WHERE document_id = :document_id
    UNION ALL
    SELECT
        sent_at AS at,
        NULL AS number,
        revision,
        'told' AS state,
        'outbox' AS actor,
        jsonb_build_object('event', kind, 'notification_id', notification_id) AS detail
    FROM outbox
    WHERE document_id = :document_id AND sent_at IS NOT NULL
    UNION ALL
    SELECT
        at,
        NULL AS number,
        cast(split_part(message_id, '.', 2) AS integer) AS revision,
        'replayed' AS state,
        who AS actor,
        jsonb_build_object('why', why) AS detail
    FROM document_replays
    WHERE message_id ~ ('^' || :document_id || '\.[0-9]{1,9}$')
) AS path
ORDER BY path.at, path.number;

-- name: record_replay(who, why, queue, message_id)!
INSERT INTO document_replays (who, why, queue, message_id)
VALUES (:who, :why, :queue, :message_id);
