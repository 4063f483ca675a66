#!/usr/bin/env bash
# The Debian package in a clean installation and a clean cluster: the tour runs there, and what belongs to it is in
# it; and whether PGXN would take META.json.
set -euo pipefail
export WALLET_SERVER=package WALLET_PG_TREE=package
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

env -u WALLET_SERVER -u WALLET_PG_TREE "$WALLET_ROOT/scripts/package.sh" >/dev/null
version=$(extension_version)
package=$(echo "$WALLET_ROOT/target/package/postgresql-$PG_MAJOR-wallet_$version"-*.deb)
contents=$(mktemp -d)
trap '"$WALLET_ROOT/scripts/server.sh" remove; rm -rf "$contents" "$PG_TREE"' EXIT
status=0

# report NAME COMMAND...
report() {
    local name=$1 verdict=ok
    shift
    "$@" || verdict=FAILED status=1
    printf 'test package_%-32s ... %s %8d ms\n' "$name" "$verdict" 0
}

# shellcheck disable=SC2317 # called by name
has_everything() {
    local file documents=usr/share/doc/postgresql-$PG_MAJOR-wallet missing=0
    local sharedir
    sharedir=$("$SYSTEM_PG_CONFIG" --sharedir)
    dpkg-deb -x "$package" "$contents"
    for file in "$("$SYSTEM_PG_CONFIG" --pkglibdir)/wallet.so" "$sharedir/extension/wallet.control" \
        "$sharedir/extension/wallet--$version.sql" "$documents/copyright" "$documents/README.md" \
        "$documents/changelog.gz" "$documents/docs/reference.md" "$documents/examples/tour.sql"; do
        [ -s "$contents/$file" ] || { echo "$file is missing"; missing=1; }
    done
    for file in sql/wallet--*--*.sql; do
        [ ! -e "$file" ] || cmp "$file" "$contents/$sharedir/extension/${file##*/}" || missing=1
    done
    grep -q 'Permission is hereby granted' "$contents/$documents/copyright" || missing=1
    grep -q '^pgrx, ' "$contents/$documents/copyright" || missing=1
    dpkg-deb -f "$package" Depends | grep -q "postgresql-$PG_MAJOR, .*libc6" || missing=1
    return "$missing"
}

# The installation is PostgreSQL's own, and of the wallet only what the package brings.
# shellcheck disable=SC2317
runs_the_tour() (
    set -e
    rm -rf "$PG_TREE"
    "$WALLET_ROOT/scripts/pg-tree.sh"
    [ ! -e "$("$PG_BIN/pg_config" --pkglibdir)/wallet.so" ]
    for directory in --pkglibdir --sharedir; do
        cp -R "$contents$("$SYSTEM_PG_CONFIG" "$directory")/." "$("$PG_BIN/pg_config" "$directory")/"
    done
    "$WALLET_ROOT/scripts/server.sh" remove
    "$WALLET_ROOT/scripts/server.sh" start
    export_client_environment
    createdb tour
    psql -qX -d tour -v ON_ERROR_STOP=1 -c 'CREATE EXTENSION wallet'
    WALLET_LISTENER=/dev/null psql -qX -d tour -v ON_ERROR_STOP=1 -o /dev/null \
        -f "$contents/usr/share/doc/postgresql-$PG_MAJOR-wallet/examples/tour.sql" >/dev/null
    broken=$(psql -qXAt -d tour -c 'SELECT count(*) FILTER (WHERE NOT v.ok), count(*) > 5 FROM wallet.wallets w, wallet.verify(w.wallet_id) v')
    [ "$broken" = '0|t' ] || { echo "verify: $broken"; exit 1; }
)

report contents has_everything
report tour runs_the_tour
report meta python3 "$WALLET_ROOT/tests/package/meta.py" "$WALLET_ROOT/target/package/wallet-$version.zip"
exit "$status"
