-- A copy is told of nothing: what is open here is the original's, and no program of it comes in.
UPDATE mail_activity SET active = FALSE WHERE clinic_outage IS NOT NULL;

DELETE FROM res_users_apikeys
WHERE user_id IN (
    SELECT res_id FROM ir_model_data
    WHERE module = 'clinic_alerts' AND model = 'res.users'
);
