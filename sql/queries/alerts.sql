-- Alerts, the outages they belong to, and who was told what.

-- name: try_alerts_lock(lock_id)$
-- One sender at a time: a claim that it finds was left by one that is no more.
SELECT pg_try_advisory_lock(:lock_id);

-- name: note_report(report_id, at)!
INSERT INTO alert_reports (report_id, at) VALUES (:report_id, :at)
ON CONFLICT (report_id) DO NOTHING;

-- name: known_reports(report_ids)
SELECT report.report_id FROM alert_reports AS report
WHERE report.report_id = any(cast(:report_ids AS text[]));

-- name: open_outage(cause, at)$
INSERT INTO outages (cause, first_at) VALUES (:cause, :at)
ON CONFLICT (cause) WHERE state = 'open'
DO UPDATE SET first_at = least(outages.first_at, excluded.first_at)
RETURNING outage_id;

-- name: leave_other_outages(at, key, outage_id)!
-- What failed for one cause and fails for another now is over as the first.
UPDATE alerts SET state = 'resolved', resolved_at = :at
WHERE key = :key AND state = 'open' AND outage_id <> :outage_id;

-- name: raise_alert(outage_id, key, source, severity, title, detail, runbook, dag_id, task_id, run_id, map_index, at)!
INSERT INTO alerts AS known (
    outage_id, key, source, severity, title, detail, runbook, dag_id, task_id, run_id, map_index,
    first_at, last_at
) VALUES (
    :outage_id, :key, :source, :severity, :title, :detail, :runbook, :dag_id, :task_id, :run_id,
    :map_index, :at, :at
)
ON CONFLICT (outage_id, key) DO UPDATE SET
    severity = excluded.severity, title = excluded.title, detail = excluded.detail,
    runbook = excluded.runbook, run_id = excluded.run_id, map_index = excluded.map_index,
    count = known.count + 1, first_at = least(known.first_at, excluded.first_at),
    last_at = greatest(known.last_at, excluded.last_at), state = 'open', resolved_at = NULL;

-- name: resolve_alert(at, key)!
UPDATE alerts SET state = 'resolved', resolved_at = :at
WHERE key = :key AND state = 'open';

-- name: resolve_others(at, source, keys)!
UPDATE alerts SET state = 'resolved', resolved_at = :at
WHERE source = :source AND state = 'open' AND key <> all(cast(:keys AS text[]));

-- name: open_alerts(source)
SELECT
    alert.key,
    alert.dag_id,
    alert.task_id,
    alert.last_at
FROM alerts AS alert
WHERE alert.state = 'open' AND alert.source = :source
ORDER BY alert.key;

-- name: list_open_alerts()
SELECT
    alert.key,
    outage.cause,
    alert.severity,
    alert.count,
    alert.first_at,
    alert.last_at,
    alert.detail,
    alert.runbook
FROM alerts AS alert
INNER JOIN outages AS outage ON alert.outage_id = outage.outage_id
WHERE alert.state = 'open'
ORDER BY alert.first_at, alert.key;

-- name: open_outages()
WITH told AS (
    -- By their names, critical comes before warning: the worst that people were told.
    SELECT
        message.outage_id,
        max(message.created_at) AS told_at,
        min(message.severity) AS severity
    FROM alert_messages AS message
    GROUP BY message.outage_id
)

SELECT
    outage.outage_id,
    outage.cause,
    outage.first_at,
    outage.closed_at,
    told.told_at,
    told.severity AS told_severity,
    (
        SELECT count(*) FROM outages AS before
        WHERE
            before.cause = outage.cause AND before.state = 'closed'
            AND before.closed_at > now() - interval '24 hours'
    ) AS closed_lately
FROM outages AS outage
LEFT JOIN told ON outage.outage_id = told.outage_id
WHERE outage.state = 'open'
ORDER BY outage.first_at;

-- name: one_outage(outage_id)^
SELECT
    outage.outage_id,
    outage.cause,
    outage.first_at,
    outage.closed_at,
    NULL AS told_at,
    NULL AS told_severity,
    0 AS closed_lately
FROM outages AS outage
WHERE outage.outage_id = :outage_id;

-- name: parts_of(outage_ids)
SELECT
    alert.outage_id,
    alert.key,
    alert.source,
    alert.severity,
    alert.title,
    alert.detail,
    alert.runbook,
    alert.dag_id,
    alert.task_id,
    alert.run_id,
    alert.map_index,
    alert.count,
    alert.first_at,
    alert.last_at,
    alert.resolved_at
FROM alerts AS alert
WHERE alert.outage_id = any(cast(:outage_ids AS uuid[]))
ORDER BY alert.first_at, alert.key;

-- name: add_message(outage_id, kind, severity, at)$
INSERT INTO alert_messages (outage_id, kind, severity, created_at)
VALUES (:outage_id, :kind, :severity, :at)
RETURNING message_id;

-- name: drop_older(outage_id, message_id)!
-- What was not sent yet is out of date: the newer message says it too.
UPDATE alert_deliveries AS delivery SET state = 'dropped', error = 'a newer message took its place'
FROM alert_messages AS message
WHERE
    delivery.message_id = message.message_id AND message.outage_id = :outage_id
    AND message.message_id <> :message_id AND delivery.state IN ('due', 'claimed');

-- name: add_delivery(message_id, channel, target, at)!
INSERT INTO alert_deliveries (message_id, channel, target, next_at)
VALUES (:message_id, :channel, :target, :at)
ON CONFLICT DO NOTHING;

-- name: add_sent_delivery(message_id, channel, target, at)!
INSERT INTO alert_deliveries (message_id, channel, target, state, attempts, next_at, sent_at)
VALUES (:message_id, :channel, :target, 'sent', 1, :at, :at)
ON CONFLICT DO NOTHING;

-- name: close_outage(outage_id, at)!
UPDATE outages SET state = 'closed', closed_at = :at
WHERE outage_id = :outage_id;

-- name: due_deliveries(moment)
-- What is due, and what a killed sender left claimed; who asks holds the lock.
WITH due AS (
    SELECT
        delivery.message_id,
        delivery.channel,
        delivery.target,
        delivery.attempts
    FROM alert_deliveries AS delivery
    WHERE
        delivery.state = 'claimed'
        OR (delivery.state = 'due' AND delivery.next_at <= :moment)
)

SELECT
    due.message_id,
    due.channel,
    due.target,
    due.attempts,
    message.outage_id,
    message.kind,
    message.created_at
FROM due
INNER JOIN alert_messages AS message ON due.message_id = message.message_id
ORDER BY message.created_at, due.message_id, due.channel, due.target;

-- name: claim_delivery(message_id, channel, target)!
UPDATE alert_deliveries SET state = 'claimed', attempts = attempts + 1
WHERE message_id = :message_id AND channel = :channel AND target = :target;

-- name: settle_delivery(state, error, next_at, sent_at, message_id, channel, target)!
UPDATE alert_deliveries
SET state = :state, error = :error, next_at = coalesce(:next_at, next_at), sent_at = :sent_at
WHERE message_id = :message_id AND channel = :channel AND target = :target;

-- name: looked_to(name)$
SELECT look.looked_to FROM alert_looks AS look
WHERE look.name = :name;

-- name: set_looked_to(name, at)!
INSERT INTO alert_looks (name, looked_to) VALUES (:name, :at)
ON CONFLICT (name) DO UPDATE SET looked_to = excluded.looked_to;

-- name: prune_reports(before)!
DELETE FROM alert_reports
WHERE at < :before;

-- name: prune_outages(before)!
DELETE FROM outages
WHERE state = 'closed' AND closed_at < :before;
