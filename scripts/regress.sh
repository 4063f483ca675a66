#!/usr/bin/env bash
# regress.sh [TEST...]: pg_regress on tests/pg_regress, in a database of its
# own: the tests of the schedule, or all, or those named.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/build.sh"
exec "$WALLET_ROOT/scripts/with-server.sh" "$WALLET_ROOT/scripts/pg-regress.sh" \
    regress/pg_regress tests/pg_regress sql "$@"
