-- A copy's documents are the original's to send, and no program of the original's comes in.
UPDATE clinic_document
SET state = 'parked', reason = 'copy', detail = 'This database is a copy.', next_attempt_at = NULL
WHERE state IN ('pending', 'published', 'retrying');

DELETE FROM res_users_apikeys
WHERE user_id IN (
    SELECT res_id FROM ir_model_data
    WHERE module = 'medical_documents_integration' AND model = 'res.users'
);
