#!/usr/bin/env bash
# psql.sh [ARGUMENT...]: psql in the database wallet, which is made with the
# extension in it if it isn't there.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/build.sh"
"$WALLET_ROOT/scripts/server.sh" start
export_client_environment
if ! psql -X -d wallet -c '' 2>/dev/null; then
    createdb wallet
    psql -qX -d wallet -c 'CREATE EXTENSION wallet'
fi
exec psql -d wallet "$@"
