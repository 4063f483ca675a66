#!/usr/bin/env bash
# The extension beside SQL written by hand, against a server of its own with PostgreSQL's default of wal_level.
set -euo pipefail
# shellcheck source=scripts/env.sh
export WALLET_SERVER=bench WALLET_WAL_LEVEL=replica
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/build.sh"
cargo build --quiet --release --package wallet-tests --bin bench
trap '"$WALLET_ROOT/scripts/server.sh" remove' EXIT
"$WALLET_ROOT/scripts/with-server.sh" "$CARGO_TARGET_DIR/release/bench"
