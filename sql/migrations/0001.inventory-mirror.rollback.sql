-- Everything here can be loaded again from Odoo, except the history in drift_reports.

DROP TABLE change_events;
DROP TABLE drift_reports;
DROP TABLE sync_rejects;
DROP TABLE sync_cursors;
DROP TABLE shared_stock_movements;
DROP TABLE shared_stock_levels;
DROP TABLE shared_reorder_rules;
DROP TABLE shared_lots;
DROP TABLE shared_medications;
DROP TABLE shared_locations;
DROP FUNCTION searchable_text(text);
DROP EXTENSION unaccent;
DROP EXTENSION pg_trgm;
REVOKE USAGE ON SCHEMA public FROM clinica_sync, clinica_api, clinica_readonly;
GRANT USAGE ON SCHEMA public TO public;
