#!/usr/bin/env bash
# Reports, charges and balances on a ledger of ten million charges (WALLET_LARGE for another number), which takes
# about eight gigabytes in the private server.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/build.sh"
cargo build --quiet --release --package wallet-tests --bin bench-large
exec "$WALLET_ROOT/scripts/with-server.sh" "$CARGO_TARGET_DIR/release/bench-large"
