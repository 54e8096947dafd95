-- No program of the original's comes in: a copy's stock is not to be taken for the clinic's.
DELETE FROM res_users_apikeys
WHERE user_id IN (
    SELECT res_id FROM ir_model_data
    WHERE module = 'clinic_change_feed' AND model = 'res.users'
);
