#!/bin/sh
# Starts Redis: hands it the password in a file of its own, and the pod's address and UID.
set -eu
: "${CONF:=/etc/redis}" "${DATA:=/data}" "${RUN:=/run/redis}" "${SECRET:=/etc/redis-secret}"
# Three times cluster-node-timeout: enough to be declared failed, and for a replica to be elected.
: "${EMPTY_WAIT_SECONDS:=15}"

umask 077
password=$(sed 's/[\\"]/\\&/g' "$SECRET/password")
printf 'requirepass "%s"\nmasterauth "%s"\n' "$password" "$password" >"$RUN/auth.conf"

# A primary that lost its data but not its identity would serve nothing, and its replicas would copy that. It waits
# until one of them has taken its place, and then copies it.
if grep -Eqs 'myself,master .* connected [0-9]' "$DATA/nodes.conf" && ! ls "$DATA"/appendonlydir/*.manifest >/dev/null 2>&1; then
    echo "the data of this primary is gone: waiting $EMPTY_WAIT_SECONDS s for a replica to take over"
    # In the background, so that a signal ends the wait.
    trap 'exit 143' TERM INT
    sleep "$EMPTY_WAIT_SECONDS" &
    wait $!
    trap - TERM INT
fi

# The UID in the name of the pid file is how the operator knows which pod it has reached.
exec redis-server "$CONF/redis.conf" --cluster-announce-ip "$POD_IP" --pidfile "$RUN/$POD_UID.pid"
