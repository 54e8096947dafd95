-- Marks older than the floor have done their work.
DELETE FROM clinic_change_mark
WHERE at < (SELECT max(m.at) FROM clinic_change_mark AS m WHERE m.pruned)
