#!/usr/bin/env bash
# The tour of examples/tour.sql in a database made for it, with a second
# session that listens for events and prints them where they come.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/build.sh"
"$WALLET_ROOT/scripts/server.sh" start
export_client_environment
dropdb --if-exists --force wallet_demo 2>/dev/null
createdb wallet_demo
psql -qX -d wallet_demo -v ON_ERROR_STOP=1 -c 'CREATE EXTENSION wallet'

scratch=$(mktemp -d)
export WALLET_LISTENER=$scratch/listener
mkfifo "$WALLET_LISTENER"
# psql shows a notification after the statement that follows it.
psql -qX -d wallet_demo -P footer=off <"$WALLET_LISTENER" &
listener=$!
# Held open, so that the listener stays until we are done.
exec 8>"$WALLET_LISTENER"
trap 'exec 8>&-; wait "$listener" 2>/dev/null; rm -rf "$scratch"' EXIT
echo 'LISTEN wallet_events;' >&8
sleep 0.3

psql -qX -d wallet_demo -f "$WALLET_ROOT/examples/tour.sql"
