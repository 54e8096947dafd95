DROP FUNCTION resolve_sync_conflict(bigint, text, text, text, numeric, numeric);
DROP TABLE sync_conflicts;
DROP TABLE movement_requests;
DROP FUNCTION tell_of_movement_request();
COMMENT ON COLUMN change_events.kind IS
'inventory.changed, inventory.reloaded, or low_stock.changed. Payloads: docs/reference/shared-database.md.';
