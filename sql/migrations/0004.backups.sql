-- Backups of Odoo, the restores made of them, and the drills that show that they can be restored.

CREATE TABLE backups (
    backup_id uuid PRIMARY KEY,
    database text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('full', 'database', 'filestore')),
    state text NOT NULL CHECK (state IN ('running', 'stored', 'failed', 'expired')),
    requested_by text NOT NULL,
    note text NOT NULL DEFAULT '',
    run_id text NOT NULL DEFAULT '',
    request_id uuid,
    started_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    taken_at timestamptz,
    name text,
    vault text,
    file_id text,
    manifest_file_id text,
    url text,
    size_bytes bigint,
    encrypted_sha256 text,
    manifest jsonb,
    verified_at timestamptz,
    expired_at timestamptz,
    error text,
    told_odoo_at timestamptz,
    CHECK (state NOT IN ('stored', 'expired') OR (
        taken_at IS NOT NULL AND name IS NOT NULL AND vault IS NOT NULL AND file_id IS NOT NULL
        AND manifest_file_id IS NOT NULL AND url IS NOT NULL AND size_bytes IS NOT NULL
        AND encrypted_sha256 IS NOT NULL AND manifest IS NOT NULL AND verified_at IS NOT NULL
    )),
    CHECK ((state = 'expired') = (expired_at IS NOT NULL))
);

COMMENT ON TABLE backups IS
'Every attempt to back Odoo up. Only what is in state stored is a backup: its sums were compared on the other side.';
COMMENT ON COLUMN backups.requested_by IS 'schedule, or the login of who asked for it.';
COMMENT ON COLUMN backups.run_id IS 'The run of the DAG backup_odoo; empty for the command line.';
COMMENT ON COLUMN backups.request_id IS 'What Odoo calls the request; null where nobody asked there.';
COMMENT ON COLUMN backups.taken_at IS 'The moment of the database''s snapshot: what was committed before is in the backup.';
COMMENT ON COLUMN backups.name IS 'Name of both files, without their suffixes.';
COMMENT ON COLUMN backups.manifest IS 'What is in the archive: the file that lies beside it in the vault.';
COMMENT ON COLUMN backups.verified_at IS 'When the vault''s own sums were found equal to those of the files.';
COMMENT ON COLUMN backups.told_odoo_at IS 'When Odoo''s list of backups had the row as it is; null while it has to be told.';

CREATE INDEX backups_newest_idx ON backups (database, kind, taken_at DESC) WHERE state = 'stored';
CREATE INDEX backups_untold_idx ON backups (updated_at) WHERE told_odoo_at IS NULL;

CREATE TABLE restores (
    restore_id uuid PRIMARY KEY,
    backup_id uuid NOT NULL REFERENCES backups (backup_id),
    purpose text NOT NULL CHECK (purpose IN ('restore', 'drill')),
    target text NOT NULL,
    state text NOT NULL CHECK (state IN ('running', 'done', 'failed')),
    requested_by text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    error text,
    report jsonb,
    CHECK ((state = 'running') = (finished_at IS NULL))
);

COMMENT ON TABLE restores IS
'Each restore, drills among them. No backup expires while a restore of it is running.';
COMMENT ON COLUMN restores.updated_at IS 'Set anew at every step: a running row that is old was left by a process that is no more.';
COMMENT ON COLUMN restores.report IS 'What was compared, what differed, and how long each step took.';

CREATE INDEX restores_running_idx ON restores (backup_id) WHERE state = 'running';

CREATE TABLE restore_drills (
    drill_id uuid PRIMARY KEY REFERENCES restores (restore_id),
    backup_id uuid NOT NULL REFERENCES backups (backup_id),
    passed boolean NOT NULL,
    finished_at timestamptz NOT NULL DEFAULT now(),
    restore_s numeric(10, 1) NOT NULL,
    total_s numeric(10, 1) NOT NULL,
    tables_compared integer NOT NULL,
    rows_compared bigint NOT NULL,
    files_compared integer NOT NULL,
    differences jsonb NOT NULL DEFAULT '[]'
);

COMMENT ON TABLE restore_drills IS
'The weekly proof: the newest backup was restored into a scratch database, compared, and Odoo ran on it.';
COMMENT ON COLUMN restore_drills.restore_s IS
'From the first byte downloaded until Odoo answered: what a restore takes (RTO), measured.';

CREATE INDEX restore_drills_finished_idx ON restore_drills (finished_at DESC);

GRANT SELECT, INSERT, UPDATE, DELETE ON backups, restores, restore_drills TO clinica_sync;
