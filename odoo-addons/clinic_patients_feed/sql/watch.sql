-- patient: the contact that is one. Nothing clinical: medical records stay in Odoo.
SELECT clinic_change_watch('res_partner', 'patient', rows => 'r.is_patient', shown =>
    '{is_patient,patient_number,name,birth_date,sex,identity_type,identity_number,phone,email,lang,active,company_id}');
