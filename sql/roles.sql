-- Cluster roles of the shared database. Safe to run again: passwords are set anew, grants repeated.
-- Run by the cluster's administrator, connected to the database "postgres":
--
--   psql -v ON_ERROR_STOP=1 -v owner_password=... -v sync_password=... -v api_password=... \
--        -v readonly_password=... -f sql/roles.sql
--
-- then: CREATE DATABASE clinica_shared OWNER clinica_owner TEMPLATE template0 ENCODING 'UTF8';
-- then: clinic db migrate (as clinica_owner), which grants what each of the others may do.
--
--   clinica_owner     owns the schema; used by migrations only
--   clinica_sync      Airflow: writes what is mirrored from Odoo, may refresh low_stock_alerts
--   clinica_api       the REST API: reads; inserts requests
--   clinica_readonly  analysts: read, no patients
--
-- Passwords come as psql variables, so that none is in a file. Read them from the environment
-- (\getenv) or from standard input where other people can list this machine's processes.

SELECT format('CREATE ROLE %I', wanted.role_name)
FROM (VALUES ('clinica_owner'), ('clinica_sync'), ('clinica_api'), ('clinica_readonly')) AS wanted (role_name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE pg_roles.rolname = wanted.role_name)
\gexec

SET password_encryption = 'scram-sha-256';
-- The statements below carry passwords: keep them out of the server's log.
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';

ALTER ROLE clinica_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'owner_password';
ALTER ROLE clinica_sync LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'sync_password';
ALTER ROLE clinica_api LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'api_password';
ALTER ROLE clinica_readonly LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'readonly_password';

-- Whatever a client forgets to limit is limited here. Clients of ours set tighter limits themselves.
ALTER ROLE clinica_sync SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE clinica_api SET statement_timeout = '15s';
ALTER ROLE clinica_api SET idle_in_transaction_session_timeout = '15s';
ALTER ROLE clinica_readonly SET statement_timeout = '5min';
ALTER ROLE clinica_readonly SET default_transaction_read_only = 'on';
