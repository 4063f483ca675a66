#!/usr/bin/env bash
# Stops the server and removes the sandbox and every build.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/server.sh" stop
rm -rf "$SANDBOX" "/tmp/wallet-$(id -u)-$CHECKOUT_ID" "/tmp/wallet-test-$(id -u)-$CHECKOUT_ID"
cargo clean
rm -rf "$WALLET_ROOT/target"
