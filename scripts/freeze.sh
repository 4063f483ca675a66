#!/usr/bin/env bash
# Freezes this version as it is released into tests/upgrade/releases: its installation script, a dump of a database
# with data, and the digest of that. From then on make test upgrades it to every later version.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/build.sh"
"$WALLET_ROOT/scripts/server.sh" start
export_client_environment
version=$(extension_version)
release=$WALLET_ROOT/tests/upgrade/releases/$version
[ ! -e "$release" ] || die "$version was released: $release exists"
dropdb --if-exists --force wallet_freeze 2>/dev/null
createdb --template template0 --encoding UTF8 wallet_freeze
psql -qX -d wallet_freeze -v ON_ERROR_STOP=1 -o /dev/null -c 'CREATE EXTENSION wallet' \
    -f "$WALLET_ROOT/tests/upgrade/fill.sql"
mkdir "$release"
cp "$("$PG_BIN/pg_config" --sharedir)/extension/wallet--$version.sql" "$release/install.sql"
pg_dump wallet_freeze >"$release/data.sql"
psql -qXAt -d wallet_freeze -c 'SELECT wallet.digest()' >"$release/digest.json"
dropdb --force wallet_freeze
say "$release is written; now name the version in CHANGELOG.md."
