-- What is wrong, which outage it belongs to, and who was told of it, by which channel.

CREATE TABLE outages (
    outage_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    cause text NOT NULL,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closed')),
    first_at timestamptz NOT NULL,
    closed_at timestamptz,
    CHECK ((state = 'closed') = (closed_at IS NOT NULL))
);

COMMENT ON TABLE outages IS
'One cause, from its first alert until all of its alerts have been quiet for a while. People are told of outages.';
COMMENT ON COLUMN outages.cause IS
'odoo, broker, shared_db, drive, nextcloud, keycloak, mail, airflow, killed, dag_file; else what the error is.';

CREATE UNIQUE INDEX outages_open_idx ON outages (cause) WHERE state = 'open';
CREATE INDEX outages_closed_idx ON outages (cause, closed_at) WHERE state = 'closed';

CREATE TABLE alerts (
    outage_id uuid NOT NULL REFERENCES outages (outage_id) ON DELETE CASCADE,
    key text NOT NULL,
    source text NOT NULL,
    severity text NOT NULL CHECK (severity IN ('warning', 'critical')),
    title text NOT NULL,
    detail text NOT NULL,
    runbook text NOT NULL,
    dag_id text,
    task_id text,
    run_id text,
    map_index integer,
    count integer NOT NULL DEFAULT 1,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'resolved')),
    resolved_at timestamptz,
    PRIMARY KEY (outage_id, key),
    CHECK ((state = 'resolved') = (resolved_at IS NOT NULL))
);

COMMENT ON TABLE alerts IS 'What is wrong, each thing once in an outage, however often it happens.';
COMMENT ON COLUMN alerts.source IS
'Who raised it and resolves it: tasks, dag_files, channels, or the check that found a breach.';
COMMENT ON COLUMN alerts.detail IS 'Shortened, and without secrets, addresses and what tells who a patient is.';
COMMENT ON COLUMN alerts.run_id IS 'The newest run that failed; its log is linked to.';

CREATE UNIQUE INDEX alerts_open_idx ON alerts (key) WHERE state = 'open';

CREATE TABLE alert_messages (
    message_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    outage_id uuid NOT NULL REFERENCES outages (outage_id) ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('opened', 'worse', 'reminder', 'closed')),
    severity text NOT NULL CHECK (severity IN ('warning', 'critical')),
    created_at timestamptz NOT NULL
);

COMMENT ON TABLE alert_messages IS 'What people are told of an outage. Its text is made when it is sent.';

CREATE INDEX alert_messages_outage_idx ON alert_messages (outage_id, created_at);

CREATE TABLE alert_deliveries (
    message_id uuid NOT NULL REFERENCES alert_messages (message_id) ON DELETE CASCADE,
    channel text NOT NULL CHECK (channel IN ('email', 'odoo', 'webhook')),
    target text NOT NULL DEFAULT '',
    state text NOT NULL DEFAULT 'due' CHECK (
        state IN ('due', 'claimed', 'sent', 'dropped')
    ),
    attempts integer NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL,
    sent_at timestamptz,
    error text,
    PRIMARY KEY (message_id, channel, target),
    CHECK ((state = 'sent') = (sent_at IS NOT NULL))
);

COMMENT ON TABLE alert_deliveries IS 'How far each message is on each channel.';
COMMENT ON COLUMN alert_deliveries.target IS 'The address of an e-mail; empty for the other channels.';
COMMENT ON COLUMN alert_deliveries.state IS
'claimed: being sent, or left by a process that was killed; dropped: a newer message takes its place.';

CREATE INDEX alert_deliveries_due_idx ON alert_deliveries (next_at) WHERE state IN ('due', 'claimed');

CREATE TABLE alert_reports (
    report_id text PRIMARY KEY,
    at timestamptz NOT NULL
);

COMMENT ON TABLE alert_reports IS 'Failures that were counted, so that none is counted twice.';

CREATE TABLE alert_looks (
    name text PRIMARY KEY,
    looked_to timestamptz NOT NULL
);

COMMENT ON TABLE alert_looks IS 'Up to when Airflow''s failed tasks have been looked through.';

GRANT SELECT, INSERT, UPDATE, DELETE
ON outages, alerts, alert_messages, alert_deliveries, alert_reports, alert_looks TO clinica_sync;
