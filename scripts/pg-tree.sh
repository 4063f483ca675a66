#!/usr/bin/env bash
# Makes the private PostgreSQL installations (see env.sh), once for each
# version of the system's PostgreSQL, and pgrx's settings that name them.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

programs='postgres initdb pg_ctl pg_config pg_isready psql pg_dump pg_dumpall
    pg_restore pgbench createdb dropdb createuser dropuser vacuumdb reindexdb
    pg_basebackup pg_controldata pg_upgrade pg_resetwal pg_waldump pg_checksums
    pg_rewind pg_receivewal pg_recvlogical pg_amcheck'

bindir=$("$SYSTEM_PG_CONFIG" --bindir)
pkglibdir=$("$SYSTEM_PG_CONFIG" --pkglibdir)
sharedir=$("$SYSTEM_PG_CONFIG" --sharedir)

# The copy depends on version, layout and the build of the server, and on the programs that are
# copied.
stamp=$("$SYSTEM_PG_CONFIG"; cksum "$bindir/postgres"; echo "$programs")

# copy_tree TREE: the parts of the system's PostgreSQL that a server and its
# clients need, at the same place below TREE as below the system's prefix.
copy_tree() {
    local tree=$1 new=$1.new program link
    rm -rf "$new"
    mkdir -p "$new/${bindir#"$PG_PREFIX"}" "$new/${pkglibdir#"$PG_PREFIX"}" "$new/${sharedir#"$PG_PREFIX"}"
    for program in $programs; do
        # -L: a link would lead the program back to the system's tree.
        if [ -x "$bindir/$program" ]; then
            cp -L "$bindir/$program" "$new/${bindir#"$PG_PREFIX"}/"
        fi
    done
    # The inliner's bitcode is large and only read: a link will do.
    for link in "$pkglibdir"/*; do
        case $link in
            */bitcode) ln -s "$link" "$new/${pkglibdir#"$PG_PREFIX"}/" ;;
            *) cp -RL "$link" "$new/${pkglibdir#"$PG_PREFIX"}/" ;;
        esac
    done
    cp -RL "$sharedir/." "$new/${sharedir#"$PG_PREFIX"}/"
    # A wallet that the system has must not be mistaken for this one.
    rm -f "$new/${pkglibdir#"$PG_PREFIX"}"/wallet.* "$new/${sharedir#"$PG_PREFIX"}"/extension/wallet[.-]*
    link_includes "$new"
    rm -rf "$tree"
    mv "$new" "$tree"
    check_tree "$tree"
    printf '%s\n' "$stamp" >"$tree/.system"
}

# The headers are only read: links to the directories that pg_config names.
link_includes() {
    local dir
    for dir in "$("$SYSTEM_PG_CONFIG" --includedir)" "$("$SYSTEM_PG_CONFIG" --includedir-server)"; do
        case $dir in
            "$PG_PREFIX"*) ;;
            *) continue ;;
        esac
        # The second may lie inside the first, which is linked already.
        if [ ! -e "$1/${dir#"$PG_PREFIX"}" ]; then
            mkdir -p "$(dirname "$1/${dir#"$PG_PREFIX"}")"
            ln -s "$dir" "$1/${dir#"$PG_PREFIX"}"
        fi
    done
}

# A build of PostgreSQL that does not find its files relative to itself would
# work on the system's own: better to stop here.
check_tree() {
    local config=$1/$PG_BIN_BELOW/pg_config option
    for option in --bindir --pkglibdir --sharedir; do
        case $("$config" "$option") in
            "$1"/*) ;;
            *) die "a copy of PostgreSQL ($bindir) does not find its own files: $option says $("$config" "$option").
Its directories (bin, lib, share) must lie below one prefix and be found relative to the executable.
Set PG_CONFIG to the pg_config of a PostgreSQL where that is so." ;;
        esac
    done
    [ -f "$("$config" --includedir-server)/postgres.h" ] ||
        die "a copy of PostgreSQL ($bindir) does not find the server headers"
}

one_at_a_time pg-tree
if [ "$(cat "$PG_TREE/.system" 2>/dev/null)" != "$stamp" ]; then
    say "Copying PostgreSQL $PG_MAJOR to $PG_TREE."
    "$WALLET_ROOT/scripts/server.sh" stop
    copy_tree "$PG_TREE"
fi
if [ -n "${WALLET_PG_TREE:-}" ]; then exit 0; fi
if [ "$(cat "$PG_TEST_TREE/.system" 2>/dev/null)" != "$stamp" ]; then
    copy_tree "$PG_TEST_TREE"
fi

write_if_changed "$PGRX_HOME/config.toml" <<TOML
[configs]
pg$PG_MAJOR = "$PG_BIN/pg_config"
TOML
