-- Patients, as far as other systems need to know them: who somebody is, and nothing clinical.

CREATE TABLE shared_patients (
    id integer PRIMARY KEY,
    patient_number text,
    name text,
    birth_date date,
    sex text,
    identity_type text,
    identity_number text,
    phone text,
    email text,
    language text,
    active boolean NOT NULL,
    company_id integer,
    search_text text NOT NULL GENERATED ALWAYS AS (
        searchable_text(coalesce(name, '') || ' ' || coalesce(patient_number, '') || ' ' || coalesce(identity_number, ''))
    ) STORED,
    generation bigint NOT NULL,
    synced_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE shared_patients IS
'Patients (res.partner with a clinical profile), archived ones too. Nothing clinical; analysts may not read it.';
COMMENT ON COLUMN shared_patients.id IS 'Id of res.partner in Odoo.';
COMMENT ON COLUMN shared_patients.patient_number IS 'Given once by Odoo, never to another.';
COMMENT ON COLUMN shared_patients.sex IS
'female, male, other or unknown, as in FHIR: https://hl7.org/fhir/R4/valueset-administrative-gender.html; null when nobody asked.';
COMMENT ON COLUMN shared_patients.identity_type IS 'dni, nie, passport or other.';
COMMENT ON COLUMN shared_patients.language IS 'In which the patient is written to, such as es_ES.';
COMMENT ON COLUMN shared_patients.search_text IS
'Name and numbers as searchable_text(); search with LIKE ''%'' || searchable_text(...) || ''%''.';
COMMENT ON COLUMN shared_patients.synced_at IS 'When this row last changed here.';

-- Hash, as other numbers that are looked up whole.
CREATE INDEX shared_patients_patient_number_idx ON shared_patients USING hash (patient_number);
CREATE INDEX shared_patients_search_idx ON shared_patients USING gin (search_text gin_trgm_ops);

GRANT SELECT, INSERT, UPDATE, DELETE ON shared_patients TO clinica_sync;
GRANT SELECT ON shared_patients TO clinica_api;

-- What a mirror was loaded with. It differs from what Odoo offers after this migration, and whenever an addon comes or
-- goes: then everything is loaded anew.
ALTER TABLE sync_cursors ADD COLUMN entities text[] NOT NULL DEFAULT '{}';

COMMENT ON COLUMN sync_cursors.entities IS 'What the last full load that began was about, in its order.';
