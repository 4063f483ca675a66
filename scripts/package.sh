#!/usr/bin/env bash
# The files that an installation needs, laid out below target/package as they
# lie below / for the system's PostgreSQL.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/pg-tree.sh"
rm -rf target/package
cargo pgrx package --pg-config "$SYSTEM_PG_CONFIG" --out-dir target/package \
    --no-default-features --features "$FEATURES"
