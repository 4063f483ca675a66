#!/usr/bin/env bash
# client.sh NAME [ARGUMENT...]: the tests over real connections that
# tests/Cargo.toml has under that name, against the private server.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

name=$1
shift
"$WALLET_ROOT/scripts/build.sh"
exec "$WALLET_ROOT/scripts/with-server.sh" cargo test --package wallet-tests --test "$name" -- "$@"
