#!/usr/bin/env bash
# clean.sh [sandbox]: stops the server and removes the sandbox with its data,
# and, unless told to leave them, every build.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/server.sh" stop
rm -rf "$SANDBOX" "/tmp/wallet-$(id -u)-$CHECKOUT_ID" "/tmp/wallet-test-$(id -u)-$CHECKOUT_ID"
if [ "${1:-}" != sandbox ]; then
    cargo clean --quiet
    rm -rf "$WALLET_ROOT/target"
fi
