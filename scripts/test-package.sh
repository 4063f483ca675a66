#!/usr/bin/env bash
# The Debian packages: what belongs to them is in them, and the tour runs in a clean installation
# and a clean cluster; apt installs them into a Debian system that has nothing of PostgreSQL, where
# walletd serves, and removes them; and whether PGXN would take META.json.
set -euo pipefail
export WALLET_SERVER=package WALLET_PG_TREE=package
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

env -u WALLET_SERVER -u WALLET_PG_TREE "$WALLET_ROOT/scripts/package.sh" >/dev/null
version=$(extension_version)
package=$(echo "$WALLET_ROOT/target/package/postgresql-$PG_MAJOR-wallet_$version"-*.deb)
daemon=$(echo "$WALLET_ROOT/target/package/walletd_$version"-*.deb)
contents=$(mktemp -d)
trap '"$WALLET_ROOT/scripts/server.sh" remove; rm -rf "$contents" "$PG_TREE"' EXIT
status=0

# report NAME COMMAND...
report() {
    local name=$1 verdict=ok code
    shift
    # Not "$@" || ...: there bash goes on after a command that fails.
    set +e
    (set -e; "$@")
    code=$?
    set -e
    if [ "$code" -ne 0 ]; then verdict=FAILED status=1; fi
    printf 'test package_%-32s ... %s %8d ms\n' "$name" "$verdict" 0
}

# shellcheck disable=SC2317,SC2329 # called by name
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
    dpkg-deb -x "$daemon" "$contents"
    for file in usr/bin/walletd lib/systemd/system/walletd.service etc/walletd/walletd.toml \
        usr/share/doc/walletd/walletd.md usr/share/doc/walletd/monitoring/rules.yml usr/share/doc/walletd/copyright; do
        [ -s "$contents/$file" ] || { echo "$file is missing"; missing=1; }
    done
    [ "$(stat -c %a "$contents/etc/walletd/walletd.toml")" = 600 ] || { echo 'anybody can read the settings'; missing=1; }
    grep -q '^axum, ' "$contents/usr/share/doc/walletd/copyright" || missing=1
    return "$missing"
}

# The installation is PostgreSQL's own, and of the wallet only what the package brings.
# shellcheck disable=SC2317,SC2329
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

# In this machine's release of Debian, in a copy that is gone afterwards.
# shellcheck disable=SC2317,SC2329
installs_with_apt() {
    local log=$WALLET_ROOT/target/package/install.log
    "$WALLET_ROOT/scripts/chroot.sh" run --scratch --bind "$package:/root/wallet.deb" \
        --bind "$daemon:/root/walletd.deb" \
        --bind "$WALLET_ROOT/tests/package/install.sh:/root/install.sh" "package-$suite" \
        bash /root/install.sh "$PG_MAJOR" >"$log" 2>&1 || { tail -n 30 "$log"; return 1; }
}

report contents has_everything
report tour runs_the_tour
# It is not the package's fault if a machine does not allow something.
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
if [ "$(id -u)" -ne 0 ]; then
    say 'Only root can make a Debian system to install the package into: that is not tested.'
elif ! { "$WALLET_ROOT/scripts/chroot.sh" make "package-$suite" "$suite" &&
    "$WALLET_ROOT/scripts/chroot.sh" run --scratch "package-$suite" true; }; then
    say 'No Debian system can be made or entered here to install the package into: that is not tested.'
else
    report apt installs_with_apt
fi
report meta python3 "$WALLET_ROOT/tests/package/meta.py" "$WALLET_ROOT/target/package/wallet-$version.zip"
exit "$status"
