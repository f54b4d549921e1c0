#!/usr/bin/env bash
# Asks the broker in this container for its API versions, as kafka-broker-api-versions.sh does, without starting a JVM
# every few seconds. Request: length 10, ApiVersions (18) version 0, correlation id 7, no client id.
set -euo pipefail
exec 3<>/dev/tcp/127.0.0.1/19092
printf '\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x07\xff\xff' >&3
# Answer: length, the same correlation id, error code 0.
answer=$(head -c 10 <&3 | od -An -v -tx1 | tr -d ' \n')
[ "${answer:8}" = "000000070000" ]
