#!/usr/bin/env bash
# build.sh [debug]: builds the extension and installs it into the private PostgreSQL, if it is not
# up to date there.
#
# This is the release build. With "debug" any build will do: a debug build is made if no build of
# these sources is installed. It compiles in about a third of the time.
#
# The result is the same as with cargo pgrx install: the library, and a program, always in debug
# mode, that writes the installation script. It is done here without cargo-pgrx, because cargo-pgrx
# takes longer to compile than the extension. The features are always named in the same way, so that
# cargo never builds anything twice.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

case ${1:-} in
    '') profile=release profile_option=(--release) ;;
    debug) profile=debug profile_option=() ;;
    *) die "usage: build.sh [debug]" ;;
esac
"$WALLET_ROOT/scripts/pg-tree.sh"

# The sources, by name and content. In C order, wherever it is run.
sources_digest() {
    export LC_ALL=C
    local sources=(src .cargo Cargo.toml Cargo.lock wallet.control scripts/build.sh)
    if [ -d sql ]; then sources+=(sql); fi
    find "${sources[@]}" -type f | sort |
        while IFS= read -r file; do
            printf '%s\n' "$file"
            cat "$file"
        done | digest
}

stamp_file=$PG_TREE/.wallet
stamp=$(sources_digest)
installed=$(cat "$stamp_file" 2>/dev/null || true)
if [ "$installed" = "release $stamp" ] || [ "$installed" = "$profile $stamp" ]; then exit 0; fi

build=(--package wallet --no-default-features --features "$FEATURES")
library_ending=so installed_ending=so
if [ "$(uname)" = Darwin ]; then
    library_ending=dylib
    # PostgreSQL looks for this ending since version 16.
    if [ "$PG_MAJOR" -ge 16 ]; then installed_ending=dylib; fi
fi
library=$CARGO_TARGET_DIR/$profile/libwallet.$library_ending

# The functions of the library that describe what belongs in the installation script, one name per
# line.
entities() {
    if [ "$(uname)" = Darwin ]; then nm -gU "$library"; else nm -D --defined-only "$library"; fi |
        sed -nE 's/.* _?(__pgrx_internals_.*)/\1/p' | LC_ALL=C sort -u
}

# The main function of src/bin/pgrx_embed.rs: it writes the installation script to the file that it
# is given.
script_writer() {
    local name
    echo 'use ::pgrx::pgrx_sql_entity_graph::{ControlFile, PgrxSql, SqlGraphEntity};'
    echo 'unsafe extern "Rust" {'
    for name in "$@"; do echo "    fn $name() -> SqlGraphEntity;"; done
    echo '}'
    echo 'pub fn main() {'
    echo '    wallet::__pgrx_marker();' # Without this call the library would not be linked.
    echo '    let control = ControlFile::try_from(std::path::PathBuf::from("wallet.control")).expect("wallet.control");'
    echo '    let entities = vec!['
    echo '        SqlGraphEntity::ExtensionRoot(control),'
    for name in "$@"; do echo "        unsafe { $name() },"; done
    echo '    ];'
    echo '    let sql = PgrxSql::build(entities.into_iter(), "wallet".to_string(), false).expect("the script");'
    echo '    sql.to_file(std::env::args().nth(1).expect("the name of the file")).expect("the file");'
    echo '}'
}

say "Building the extension for PostgreSQL $PG_MAJOR ($profile; the first time takes 1 minute on two cores for debug, 4 for release)."
rm -f "$stamp_file"
cargo build --lib ${profile_option[@]+"${profile_option[@]}"} "${build[@]}"

say "Writing the installation script."
read -r -d '' -a names < <(entities) || true
[ ${#names[@]} -gt 0 ] || die "no functions of pgrx found in $library"
export PGRX_EMBED=$CARGO_TARGET_DIR/pgrx_embed.rs
script_writer "${names[@]}" | write_if_changed "$PGRX_EMBED"
cargo rustc --bin pgrx_embed_wallet "${build[@]}" -- --cfg pgrx_embed
version=$(extension_version)
script=$CARGO_TARGET_DIR/wallet--$version.sql
CARGO_PKG_VERSION=$version "$CARGO_TARGET_DIR/debug/pgrx_embed_wallet" "$script"

library_directory=$("$PG_BIN/pg_config" --pkglibdir)
extension_directory=$("$PG_BIN/pg_config" --sharedir)/extension
# A server may still have the old library open: it is removed, not written over. With it scripts of
# versions that are no longer in sql/.
rm -f "$library_directory/wallet.$installed_ending" "$extension_directory"/wallet--*.sql
cp "$library" "$library_directory/wallet.$installed_ending"
sed "s/@CARGO_VERSION@/$version/" wallet.control >"$extension_directory/wallet.control"
cp "$script" "$extension_directory/"
for upgrade in sql/wallet--*--*.sql; do
    if [ -e "$upgrade" ]; then cp "$upgrade" "$extension_directory/"; fi
done
printf '%s %s\n' "$profile" "$stamp" >"$stamp_file"
