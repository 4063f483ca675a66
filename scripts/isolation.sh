#!/usr/bin/env bash
# isolation.sh [TEST...]: pg_isolation_regress on tests/isolation, in a database
# of its own with the extension in it: the tests of the schedule, or all, or
# those named.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/build.sh"
exec "$WALLET_ROOT/scripts/with-server.sh" "$WALLET_ROOT/scripts/pg-regress.sh" \
    isolation/pg_isolation_regress tests/isolation spec "$@"
