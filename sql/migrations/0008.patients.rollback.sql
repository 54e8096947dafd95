ALTER TABLE sync_cursors DROP COLUMN entities;

DROP TABLE shared_patients;
