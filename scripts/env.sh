# shellcheck shell=bash
# The paths and names that the scripts share once everything is installed.
# Sourced, never run.
# shellcheck disable=SC2034 # most of what is set here is used where it is sourced
#
# Everything the scripts make is below target/, or, where the server's user
# cannot reach the checkout, in a directory of its own below /var/tmp.

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# pgrx looks for target/debug below this directory, so it must be the same for
# cargo and for cargo-pgrx.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$WALLET_ROOT/target}

SYSTEM_PG_CONFIG=$(find_pg_config) ||
    die "no $PG_SUPPORTED with server headers found${PG_CONFIG:+ at $PG_CONFIG, which PG_CONFIG says}; 'make setup-build' installs one"
PG_MAJOR=$(pg_major_of "$SYSTEM_PG_CONFIG")
export SYSTEM_PG_CONFIG PG_MAJOR

# PostgreSQL refuses to run as root: then its server runs as another user.
SERVER_USER=$(id -un)
if [ "$(id -u)" -eq 0 ]; then
    SERVER_USER=nobody
    if id postgres >/dev/null 2>&1; then SERVER_USER=postgres; fi
fi
export SERVER_USER

# Runs a command as the server's user, from / because that user may not be
# able to read the current directory.
as_server() (
    cd /
    if [ "$(id -un)" = "$SERVER_USER" ]; then
        "$@"
    elif command -v runuser >/dev/null; then
        runuser -u "$SERVER_USER" -- "$@"
    elif command -v setpriv >/dev/null; then
        setpriv --reuid "$SERVER_USER" --regid "$(id -g "$SERVER_USER")" --clear-groups -- "$@"
    else
        su -s /bin/sh "$SERVER_USER" -c "$(printf '%q ' "$@")"
    fi
)

# Makes a directory in a place that everyone can write to; refuses one that
# somebody else has put there first.
claim_directory() {
    [ -d "$1" ] || mkdir -m "$2" "$1"
    if [ ! -O "$1" ] || [ -L "$1" ]; then die "$1 belongs to somebody else; remove it"; fi
}

CHECKOUT_ID=$(printf '%s' "$WALLET_ROOT" | digest | cut -c1-12)

# The sandbox: PostgreSQL's private copy, the server's data, socket and log.
SANDBOX=$WALLET_ROOT/target/sandbox
mkdir -p "$SANDBOX"
if ! as_server test -r "$SANDBOX" -a -x "$SANDBOX" 2>/dev/null; then
    SANDBOX=/var/tmp/wallet-sandbox-$CHECKOUT_ID
    [ -d "$SANDBOX" ] ||
        say "User $SERVER_USER cannot reach this checkout: the server's files go to $SANDBOX."
    claim_directory "$SANDBOX" 0755
fi
export SANDBOX

# The settings of pgrx for the scripts: ~/.pgrx stays as it is. The build scripts of pgrx watch
# config.toml there, so it is written only when it changes. The variables would override it.
export PGRX_HOME=$WALLET_ROOT/target/pgrx
unset PGRX_PG_CONFIG_PATH PGRX_PG_CONFIG_AS_ENV

# The private installations: the release build that one works with, and one
# for cargo pgrx test, which installs a debug build with the tests inside. The
# test of the package has a clean one: WALLET_PG_TREE.
PG_TREE=$SANDBOX/pg${WALLET_PG_TREE:+-$WALLET_PG_TREE}
PG_TEST_TREE=$SANDBOX/pg-test

# Where a path of the system's PostgreSQL is in a private installation:
# below the prefix that all its directories share. PostgreSQL finds its files
# relative to the running executable, so a moved tree works as a whole.
pg_prefix() {
    local prefix dir
    prefix=$("$SYSTEM_PG_CONFIG" --bindir)/
    for dir in "$("$SYSTEM_PG_CONFIG" --pkglibdir)" "$("$SYSTEM_PG_CONFIG" --sharedir)"; do
        while [ "${dir#"$prefix"}" = "$dir" ]; do
            prefix=${prefix%/}
            prefix=${prefix%/*}/
        done
    done
    printf '%s\n' "$prefix"
}
PG_PREFIX=$(pg_prefix)
PG_BIN_BELOW=$("$SYSTEM_PG_CONFIG" --bindir)
PG_BIN_BELOW=${PG_BIN_BELOW#"$PG_PREFIX"}
PG_BIN=$PG_TREE/$PG_BIN_BELOW
PG_TEST_BIN=$PG_TEST_TREE/$PG_BIN_BELOW

# The server: its data directory by major version, its socket, its log. Tests may
# have one more, which WALLET_SERVER names: a standby, a server that is replicated to.
SERVER_NAME=${WALLET_SERVER:-}
export PGDATA=$SANDBOX/server/data-$PG_MAJOR${SERVER_NAME:+-$SERVER_NAME}
SERVER_LOG=$SANDBOX/server/postgres${SERVER_NAME:+-$SERVER_NAME}.log
MAIN_PORT=54329 # there is no TCP: it only names the socket
SERVER_PORT=$MAIN_PORT
if [ -n "$SERVER_NAME" ]; then SERVER_PORT=$((MAIN_PORT + 1)); fi

# A socket's path can have about 100 bytes; a deeper checkout gets a short one.
SOCKET_DIR=$SANDBOX/server/socket
if [ "${#SOCKET_DIR}" -gt 80 ]; then SOCKET_DIR=/tmp/wallet-$(id -u)-$CHECKOUT_ID; fi

# The environment that a client needs to find the server and the private programs.
export_client_environment() {
    export PGHOST=$SOCKET_DIR PGPORT=$SERVER_PORT PGUSER=postgres PGDATABASE=postgres
    export PATH=$PG_BIN:$PATH
    unset PGPASSWORD PGSERVICE PGOPTIONS PGHOSTADDR PGSSLMODE
}

# The features of every build that has no tests inside, and of those that do.
# The same words everywhere: another set would be built again.
FEATURES=pg$PG_MAJOR
TEST_FEATURES="pg$PG_MAJOR pg_test"

# write_if_changed FILE: a new modification time alone would rebuild pgrx.
write_if_changed() {
    local content
    content=$(cat)
    if [ "$(cat "$1" 2>/dev/null)" != "$content" ]; then
        mkdir -p "$(dirname "$1")"
        printf '%s\n' "$content" >"$1"
    fi
}

# one_at_a_time NAME: of several tasks at once the later ones wait here. The
# lock is on descriptor 9 until the script ends.
one_at_a_time() {
    if command -v flock >/dev/null; then
        exec 9>"$SANDBOX/.lock-$1"
        flock 9
    fi
}

# The extension's version, which Cargo.toml alone has.
extension_version() { sed -nE '/^\[package\]/,/^\[/ s/^version = "(.*)"/\1/p' "$WALLET_ROOT/Cargo.toml"; }
