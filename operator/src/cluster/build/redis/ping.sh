#!/bin/sh
# Probe: succeeds if Redis answers; with the argument `live` also while it is busy or still loading its data.
# The state of the cluster doesn't count: it needs running pods to get better.
: "${SECRET:=/etc/redis-secret}" "${PORT:=6379}"

REDISCLI_AUTH=$(cat "$SECRET/password")
export REDISCLI_AUTH
answer=$(redis-cli -h 127.0.0.1 -p "$PORT" ping 2>&1)
case "${1:-ready}:$answer" in
*:PONG) exit 0 ;;
live:*LOADING* | live:*BUSY* | live:*MASTERDOWN*) exit 0 ;;
esac
echo "$answer"
exit 1
