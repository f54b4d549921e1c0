#!/usr/bin/env bash
# What docker-compose.yml uses of the official image's entrypoint: an empty data directory is made, the scripts of
# /docker-entrypoint-initdb.d run against a server that listens on its socket alone, then the real server takes over.
set -euo pipefail

user=${POSTGRES_USER:-postgres}

first_start() {
  local password_file=${POSTGRES_PASSWORD_FILE:?is the file with the password of the superuser}
  # Several arguments in one variable, as the official image takes them.
  # shellcheck disable=SC2086
  initdb --pgdata "$PGDATA" --username "$user" --pwfile "$password_file" ${POSTGRES_INITDB_ARGS:-}
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  pg_ctl --pgdata "$PGDATA" --wait start --options "-c listen_addresses='' -p 5432"
  local script
  for script in /docker-entrypoint-initdb.d/*; do
    case $script in
      *.sh) if [ -x "$script" ]; then "$script"; else . "$script"; fi ;;
      *.sql) psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$user" --dbname postgres --file "$script" ;;
    esac
  done
  pg_ctl --pgdata "$PGDATA" --mode fast --wait stop
}

if [ "${1:-}" = postgres ]; then
  chmod 0700 "$PGDATA" || true
  [ -s "$PGDATA/PG_VERSION" ] || first_start
  # Debian's default is its own socket directory and localhost; the official image listens everywhere.
  shift
  set -- postgres -c listen_addresses='*' "$@"
fi
exec "$@"
