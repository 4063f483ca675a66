#!/usr/bin/env bash
# The #[test]s inside the extension, property tests among them: they need no
# server. The build is the one of test-pg.sh; what is left out here by its name
# is just what runs there.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/pg-tree.sh"
cargo test --package wallet --no-default-features --features "$TEST_FEATURES" -- --skip tests::pg_ "$@"
