#!/usr/bin/env bash
# Builds the release extension and installs it into the private PostgreSQL,
# if its sources changed since it was last done.
#
# cargo pgrx install builds the release library and then, in debug mode, a
# program that writes the extension's SQL. Of that debug build cargo pgrx test
# uses what it can; the rest differs in features that the test crates ask for.
# It names the features itself and always the same way, so neither the release
# nor the debug build is done twice.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/pg-tree.sh"

# The sources, by name and content. In C order, wherever it is run.
sources_digest() {
    export LC_ALL=C
    local sources=(src .cargo Cargo.toml Cargo.lock wallet.control)
    if [ -d sql ]; then sources+=(sql); fi
    find "${sources[@]}" -type f | sort |
        while IFS= read -r file; do
            printf '%s\n' "$file"
            cat "$file"
        done | digest
}

stamp_file=$PG_TREE/.wallet
stamp=$(sources_digest)
if [ "$(cat "$stamp_file" 2>/dev/null)" = "$stamp" ]; then exit 0; fi

say "Building the extension (the first time takes some minutes)."
rm -f "$stamp_file"
begun=$(mktemp)
trap 'rm -f "$begun"' EXIT
cargo pgrx install --release --pg-config "$PG_BIN/pg_config" \
    --no-default-features --features "$FEATURES"
# Scripts of versions that are no longer in sql/.
find "$("$PG_BIN/pg_config" --sharedir)/extension" -name 'wallet--*.sql' ! -newer "$begun" -delete
printf '%s\n' "$stamp" >"$stamp_file"
