#!/usr/bin/env bash
# Brings the four databases back to a copy of backup.sh: deploy/restore.sh FILE. EVERYTHING WRITTEN SINCE IS LOST.
# Everything stops; afterwards: docker compose up -d --wait. The same major version of PostgreSQL must run as then.
# COMPOSE and ENV_FILE as in backup.sh and deploy/docker/kafka/anew.sh.
set -euo pipefail

file=${1:?names a file that backup.sh made}
read -ra compose <<< "${COMPOSE:-docker compose}"
here=$(cd "$(dirname "$0")" && pwd)

tar -tzf "$file" > /dev/null
"${compose[@]}" down --timeout 60
# One container writes into the volume as PostgreSQL's own account, with no server running.
"${compose[@]}" run --rm --no-deps -T --entrypoint bash db -ec \
  'find "$PGDATA" -mindepth 1 -delete; tar -xzf - -C "$PGDATA"; chmod 0700 "$PGDATA"' < "$file"
# Kafka knows of events that are no longer in history: it begins anew, and the services read each other's exports.
"$here/docker/kafka/anew.sh"
echo "restored from $file; now: docker compose up -d --wait"
