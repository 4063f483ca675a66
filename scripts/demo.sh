#!/usr/bin/env bash
# Runs demo/*.sql, in order of their names, in a database made for it.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/build.sh"
"$WALLET_ROOT/scripts/server.sh" start
export_client_environment
dropdb --if-exists --force wallet_demo 2>/dev/null
createdb wallet_demo
psql -qX -d wallet_demo -v ON_ERROR_STOP=1 -c 'CREATE EXTENSION wallet'
for file in demo/*.sql; do
    [ -e "$file" ] || die "there is no demo/*.sql yet"
    psql -X -d wallet_demo -v ON_ERROR_STOP=1 -f "$file"
done
