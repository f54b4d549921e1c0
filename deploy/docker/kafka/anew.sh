#!/usr/bin/env bash
# Empties Kafka, with everything stopped (docker compose down). Nothing is lost when the outboxes are empty: Kafka carries
# events, PostgreSQL keeps them. ENV_FILE (.env) gets a new KAFKA_CLUSTER_ID: by it the services see that this is another
# log, and read each other's exports before they go on. COMPOSE is the command of compose with its files.
set -euo pipefail

read -ra compose <<< "${COMPOSE:-docker compose}"
variables=${ENV_FILE:-.env}

for broker in $("${compose[@]}" config --services | grep '^kafka'); do
  "${compose[@]}" run --rm --no-deps -T --entrypoint bash "$broker" -ec 'find /var/lib/kafka/data -mindepth 1 -delete' < /dev/null
done
# 16 random bytes as Kafka writes ids; never with a dash in front, which would be taken for an option.
id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=' | sed 's/^-/A/')
touch "$variables"
kept=$(grep -v '^KAFKA_CLUSTER_ID=' "$variables" || true)
printf '%s\nKAFKA_CLUSTER_ID=%s\n' "$kept" "$id" | sed '/^$/d' > "$variables.new"
mv "$variables.new" "$variables"
