#!/usr/bin/env bash
# Four databases for four roles that can reach only their own. The image runs it when the volume is empty; it may be run
# again at any time (a new password, a lost grant): docker compose exec db /docker-entrypoint-initdb.d/10-databases.sh
set -euo pipefail

sql() {
  psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres
}

for service in pipeline kpi goals notify; do
  # psql reads the password itself: as an argument it would be seen in the list of processes.
  # The order of text is that of its code points, the same on every PostgreSQL and in the embedded mode.
  sql <<SQL
\\set password \`cat /run/secrets/${service}_database_password\`
SELECT 'CREATE ROLE ${service} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION'
  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '${service}') \\gexec
ALTER ROLE ${service} PASSWORD :'password';
SELECT 'CREATE DATABASE ${service} OWNER ${service} TEMPLATE template0 ENCODING ''UTF8'' LOCALE ''C.UTF-8'''
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '${service}') \\gexec
REVOKE CONNECT, TEMPORARY ON DATABASE ${service} FROM PUBLIC;
SQL
done

sql <<'SQL'
REVOKE CONNECT, TEMPORARY ON DATABASE postgres FROM PUBLIC;
REVOKE CONNECT, TEMPORARY ON DATABASE template1 FROM PUBLIC;
SQL
