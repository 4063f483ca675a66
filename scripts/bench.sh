#!/usr/bin/env bash
# Runs the programs in bench/, in order of their names, against the release
# build. The server's durability settings are the ones of production.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/build.sh"
for program in bench/*.sh; do
    [ -e "$program" ] || die "there is no bench/*.sh yet"
    "$WALLET_ROOT/scripts/with-server.sh" "$program"
done
