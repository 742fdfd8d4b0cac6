#!/bin/sh
# Before a primary ends: hands its slots to the replica that has most of the data. Bounded, and never an obstacle.
# Then stays for a moment as that one's replica: gateways look at it to see that nothing was lost.
: "${SECRET:=/etc/redis-secret}" "${PORT:=6379}" "${HANDOVER_SECONDS:=10}" "${WITNESS_SECONDS:=3}"

REDISCLI_AUTH=$(cat "$SECRET/password")
export REDISCLI_AUTH

replication() {
    redis-cli -h 127.0.0.1 -p "$PORT" info replication | tr -d '\r'
}

state=$(replication)
case "$state" in *role:master*) ;; *) exit 0 ;; esac

# Of the replicas that keep up, the one with the highest offset: "offset ip port".
replica=$(printf '%s\n' "$state" |
    sed -n 's/^slave[0-9]*:ip=\([^,]*\),port=\([0-9]*\),state=online,offset=\([0-9]*\),lag=[01]$/\3 \1 \2/p' |
    sort -rn | head -n 1)
[ -n "$replica" ] || exit 0

# Split into its three words on purpose.
# shellcheck disable=SC2086
set -- $replica
redis-cli -h "$2" -p "$3" cluster failover || exit 0

waited=0
while [ "$waited" -lt "$HANDOVER_SECONDS" ]; do
    case "$(replication)" in
    *role:slave*)
        sleep "$WITNESS_SECONDS"
        exit 0
        ;;
    esac
    sleep 1
    waited=$((waited + 1))
done
exit 0
