#!/usr/bin/env bash
# One copy of all four databases at one instant, taken while everything runs: deploy/backup.sh DIRECTORY
# A copy of the whole server and not four dumps: what kpi has counted and what pipeline has written must be of the same
# instant. KEEP_DAYS (30) is how long copies stay; COMPOSE is the command of compose with its files.
set -euo pipefail
umask 077

directory=${1:?names the directory for the copies}
read -ra compose <<< "${COMPOSE:-docker compose}"
name="$directory/salesgrain-$(date -u +%Y%m%dT%H%M%SZ).tar.gz"

mkdir -p "$directory"
trap 'rm -f "$name.unfinished"' EXIT
# Within the container the superuser needs no password; the write-ahead log of the copy's time is in the copy.
"${compose[@]}" exec -T db pg_basebackup --username postgres --pgdata - --format tar --gzip --wal-method fetch \
  --checkpoint fast > "$name.unfinished"
# Whole, and with what PostgreSQL needs to begin from it.
content=$(tar -tzf "$name.unfinished")
for needed in PG_VERSION backup_label backup_manifest global/pg_control; do
  grep -qx "$needed" <<< "$content" || { echo "backup: $needed is missing in the copy" >&2; exit 1; }
done
sync "$name.unfinished"
mv "$name.unfinished" "$name"
find "$directory" -name 'salesgrain-*.tar.gz' -mtime "+${KEEP_DAYS:-30}" -delete
echo "$name"
