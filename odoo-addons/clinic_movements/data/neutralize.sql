-- No program of the original's comes in: what it books belongs into the original.
DELETE FROM res_users_apikeys
WHERE user_id IN (
    SELECT res_id FROM ir_model_data
    WHERE module = 'clinic_movements' AND model = 'res.users'
);
