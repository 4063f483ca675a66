#!/usr/bin/env bash
# Packages into target/package: for Debian and its kin postgresql-NN-wallet_VERSION_ARCH.deb with
# the library, the scripts, licence, documents and examples, and walletd_VERSION_ARCH.deb with the
# program, its unit for systemd and its documents; for PGXN wallet-VERSION.zip with the sources and
# META.json. The version is Cargo.toml's.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/build.sh"
version=$(extension_version)
name=postgresql-$PG_MAJOR-wallet
output=$WALLET_ROOT/target/package
root=$output/root
rm -rf "$output"
mkdir -p "$root"

# The files of the private installation go where the system's PostgreSQL looks for it.
library=$("$PG_BIN/pg_config" --pkglibdir)/wallet.so
extension=$("$PG_BIN/pg_config" --sharedir)/extension
install -D -m 0644 "$library" "$root$("$SYSTEM_PG_CONFIG" --pkglibdir)/wallet.so"
install -d "$root$("$SYSTEM_PG_CONFIG" --sharedir)/extension"
install -m 0644 "$extension/wallet.control" "$extension"/wallet--*.sql "$root$("$SYSTEM_PG_CONFIG" --sharedir)/extension/"

# third_party CRATE: the crates that are linked into it, as their own licences ask.
third_party() {
    cargo metadata --format-version 1 --locked --no-default-features --features "$FEATURES" \
        --filter-platform "$(rustc -vV | sed -n 's/^host: //p')" | python3 -c '
import json, sys
wanted = sys.argv[1]
packages = json.load(sys.stdin)
kept = {node["id"]: node for node in packages["resolve"]["nodes"]}
by_id = {package["id"]: package for package in packages["packages"]}
todo = [id for id, package in by_id.items() if package["name"] == wanted]
seen = set()
while todo:
    id = todo.pop()
    if id in seen:
        continue
    seen.add(id)
    # Neither what only tests nor what only build scripts need.
    todo += [d["pkg"] for d in kept[id]["deps"] if any(kind["kind"] is None for kind in d["dep_kinds"])]
for package in sorted((by_id[id] for id in seen), key=lambda package: package["name"]):
    if package["name"] != wanted:
        print(package["name"], package["version"], package["license"] or package["license_file"], sep=", ")
' "$1"
}

# licences WHAT CRATE: the copyright file of a package, which has WHAT of that crate.
licences() {
    printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: wallet\n\n'
    printf 'Files: *\nCopyright: %s\nLicense: MIT\n' "$(sed -n 's/^Copyright (c) //p' LICENSE)"
    sed -n '/^Permission/,$ { s/^$/./; s/^/ /; p }' LICENSE
    printf '\nThe %s contains these crates (name, version, licence):\n\n' "$1"
    third_party "$2"
}

# shared_libraries PACKAGE FILE: the libraries of the system that it needs, as dpkg's own tool sees
# it.
shared_libraries() {
    local scratch
    scratch=$(mktemp -d)
    mkdir "$scratch/debian"
    printf 'Source: wallet\n\nPackage: %s\nArchitecture: any\n' "$1" >"$scratch/debian/control"
    # Symbols of PostgreSQL are in no library: the server has them.
    (cd "$scratch" && dpkg-shlibdeps -O "$2" 2>/dev/null | sed 's/^shlibs:Depends=//')
    rm -rf "$scratch"
}

# finish ROOT: adds the sums of the files, and makes the package.
finish() {
    (cd "$1" && find . -type f ! -path './DEBIAN/*' ! -path './etc/*' -printf '%P\0' | sort -z | xargs -0 md5sum) >"$1/DEBIAN/md5sums"
    dpkg-deb --root-owner-group --build "$1" "$output" >/dev/null
    rm -rf "$1"
}
documents=$root/usr/share/doc/$name
install -d "$documents/examples"
cp -R README.md docs "$documents/"
cp examples/*.sql examples/worker.* "$documents/examples/"
gzip -9n <CHANGELOG.md >"$documents/changelog.gz"
licences library wallet >"$documents/copyright"
depends=$(shared_libraries "$name" "$library")
install -d "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<CONTROL
Package: $name
Version: $version-1
Architecture: $(dpkg --print-architecture)
Maintainer: The wallet authors <noreply@invalid>
Section: database
Priority: optional
Depends: postgresql-$PG_MAJOR${depends:+, $depends}
Installed-Size: $(du -sk "$root" | cut -f1)
Description: prepaid wallet for AI services inside PostgreSQL
 Funding, exact prices, limits, charges, alerts and a tamper-evident ledger,
 in one transaction with the application's own rows.
 .
 After an upgrade run ALTER EXTENSION wallet UPDATE in each database.
CONTROL
finish "$root"

# walletd runs anywhere near the database, and needs nothing of PostgreSQL.
cargo build --quiet --profile server --package walletd
program=$CARGO_TARGET_DIR/server/walletd
documents=$root/usr/share/doc/walletd
install -D -m 0755 -s "$program" "$root/usr/bin/walletd"
install -D -m 0644 server/package/walletd.service "$root/lib/systemd/system/walletd.service"
install -D -m 0600 server/package/walletd.toml "$root/etc/walletd/walletd.toml"
install -d "$documents"
install -m 0644 docs/walletd.md server/sql/roles.sql "$documents/"
cp -R monitoring "$documents/"
gzip -9n <CHANGELOG.md >"$documents/changelog.gz"
licences program walletd >"$documents/copyright"
depends=$(shared_libraries walletd "$program")
install -d "$root/DEBIAN"
install -m 0755 server/package/postinst server/package/prerm server/package/postrm "$root/DEBIAN/"
echo /etc/walletd/walletd.toml >"$root/DEBIAN/conffiles"
cat >"$root/DEBIAN/control" <<CONTROL
Package: walletd
Version: $version-1
Architecture: $(dpkg --print-architecture)
Maintainer: The wallet authors <noreply@invalid>
Section: net
Priority: optional
Depends: ${depends:-libc6}, ca-certificates
Suggests: postgresql-$PG_MAJOR-wallet
Installed-Size: $(du -sk "$root" | cut -f1)
Description: HTTP API, worker and page of the prepaid wallet in PostgreSQL
 Charges, holds and reports over HTTP, deliveries of events, payments by
 Stripe, and a page for people. All data are in PostgreSQL.
CONTROL
finish "$root"

# PGXN builds from sources; META.json is all that it wants in addition to them.
distribution=wallet-$version
git archive --prefix="$distribution/" HEAD | tar -x -C "$output"
rm "$output/$distribution/META.json.in"
sed "s/@VERSION@/$version/" META.json.in >"$output/$distribution/META.json"
cp "$extension/wallet--$version.sql" "$output/$distribution/sql/"
(cd "$output" && python3 -m zipfile -c "$distribution.zip" "$distribution")
rm -rf "${output:?}/$distribution"
ls -1 "$output"
