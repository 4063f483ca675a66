#!/usr/bin/env bash
# The extension beside SQL written by hand, against the private server.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/build.sh"
cargo build --quiet --release --package wallet-tests --bin bench
exec "$WALLET_ROOT/scripts/with-server.sh" "$CARGO_TARGET_DIR/release/bench"
