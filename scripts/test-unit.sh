#!/usr/bin/env bash
# The #[test]s inside the extension, property tests among them: they need no
# server. The build is the one of test-pg.sh; its #[pg_test]s are left out by
# the prefix that pgrx gives to their names.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/pg-tree.sh"
cargo test --package wallet --no-default-features --features "$TEST_FEATURES" -- --skip ::pg_ "$@"
