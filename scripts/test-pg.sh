#!/usr/bin/env bash
# test-pg.sh [FILTER]: cargo pgrx test, which runs #[pg_test]s in a server of
# their own and #[test]s in this process. Without a filter: the #[pg_test]s,
# which pgrx wants in modules named tests and whose names it prefixes with pg_.
#
# It installs a debug build with the tests inside. That goes into a private
# PostgreSQL of its own, so the release build that all else uses stays.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/pg-tree.sh"

# The server's data and its socket; the latter's path must be short.
data=$SANDBOX/pg-test-data
if [ "${#data}" -gt 80 ]; then data=/tmp/wallet-test-$(id -u)-$CHECKOUT_ID; fi

# A run that was killed may have left its server.
stop_server() {
    if as_server test -f "$data/$PG_MAJOR/postmaster.pid"; then
        as_server "$PG_TEST_BIN/pg_ctl" stop -D "$data/$PG_MAJOR" -s -m immediate || true
    fi
}
stop_server
trap stop_server EXIT

# With --runas pgrx initializes the cluster at every run and wants it gone.
rm -rf "$data"
mkdir -m 0700 "$data"
[ "$(id -un)" = "$SERVER_USER" ] || chown "$SERVER_USER" "$data"

# pgrx always listens on localhost: on a port of this checkout's own. The port
# stays the same from run to run unless it is taken, for pgrx is built again
# when its settings change.
port=$((20000 + 16#${CHECKOUT_ID:0:4} % 10000))
while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done

# Settings apart from those of the other builds, for the other installation.
export PGRX_HOME=$PGRX_HOME-test
write_if_changed "$PGRX_HOME/config.toml" <<TOML
base_testing_port = $((port - PG_MAJOR))

[configs]
pg$PG_MAJOR = "$PG_TEST_BIN/pg_config"
TOML

as_user=()
if [ "$(id -un)" != "$SERVER_USER" ]; then
    PATH=$WALLET_ROOT/scripts/as-root:$PATH
    as_user=(--runas "$SERVER_USER")
fi
export USER=${USER:-$(id -un)} # pgrx connects as this user; not every CI sets it
unset PGHOST PGPORT PGUSER PGDATABASE PGDATA

cargo pgrx test "pg$PG_MAJOR" "${1:-tests::pg_}" --no-default-features \
    --pgdata "$data" ${as_user[@]+"${as_user[@]}"}
