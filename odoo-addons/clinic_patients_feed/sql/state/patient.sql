SELECT
    p.id,
    p.patient_number,
    p.name,
    p.birth_date,
    p.sex,
    p.identity_type,
    p.identity_number,
    p.phone,
    p.email,
    p.lang AS language,
    coalesce(p.active, false) AS active,
    p.company_id
FROM res_partner AS p
WHERE
    p.is_patient
    AND (%(ids)s::integer[] IS NULL OR p.id = ANY(%(ids)s::integer[]))
    AND p.id > %(after)s
ORDER BY p.id
LIMIT %(limit)s
