-- Where this database stands, in the transaction's own snapshot.
--   epoch: what a restore or a reinstall changes. Transaction ids start anew then, and an old cursor would
--   skip whatever got an id that it takes for seen.
--   unflushed: see `_secure` in feed/page.py.
SELECT
    pg_current_snapshot()::text AS snapshot,
    concat_ws(
        '/',
        (SELECT p.value FROM ir_config_parameter AS p WHERE p.key = 'database.uuid'),
        (SELECT s.system_identifier FROM pg_control_system() AS s),
        (SELECT k.timeline_id FROM pg_control_checkpoint() AS k),
        (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database()),
        'clinic_change'::regclass::oid
    ) AS epoch,
    (SELECT max(m.ended_below)::text FROM clinic_change_mark AS m WHERE m.pruned) AS floor,
    pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn() AS unflushed
