-- A copy asks for no backup: what waited here is for the original, and no program of the original's comes in.
UPDATE clinic_backup
SET state = 'failed', error = 'This database is a copy.', next_attempt_at = NULL
WHERE state IN ('requested', 'published');

DELETE FROM res_users_apikeys
WHERE user_id IN (
    SELECT res_id FROM ir_model_data
    WHERE module = 'clinic_backups' AND model = 'res.users'
);
