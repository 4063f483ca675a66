#!/usr/bin/env bash
# with-server.sh COMMAND...: starts this checkout's server if need be, and runs
# the command with the environment that leads PostgreSQL's clients to it.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/server.sh" start
export_client_environment
exec "$@"
