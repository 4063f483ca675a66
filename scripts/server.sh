#!/usr/bin/env bash
# start | stop | restart | crash | status of this checkout's own server. It listens on
# a socket of its own and nowhere else; other servers are left alone.
#
# With WALLET_SERVER=NAME the same of a second server, which tests have: standby makes it as a copy
# of the first that follows it, promote lets it go on alone, remove stops it and removes its data.
# With WALLET_CLOCK=yes such a server's clock shows the time in the file that clock names, until
# somebody writes another one there; clock fails where there can be none.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

# The process that the pid file names, if it still is a server on this data
# directory: after a crash or a reboot the number may be somebody else's.
running() {
    local pid
    pid=$(as_server head -n 1 "$PGDATA/postmaster.pid" 2>/dev/null) || return 1
    kill -0 "$pid" 2>/dev/null || [ -d "/proc/$pid" ] || return 1
    if [ -d /proc/self ]; then
        [ "$(as_server readlink "/proc/$pid/cwd" 2>/dev/null)" = "$PGDATA" ]
    else
        ps -o command= -p "$pid" | grep -q postgres
    fi
}

# Directories that the server's user must own.
prepare_directories() {
    local directory
    for directory in "$SANDBOX/server" "$SOCKET_DIR"; do
        if [ ! -e "$directory" ] && [ ! -L "$directory" ]; then
            mkdir "$directory"
            [ "$(id -un)" = "$SERVER_USER" ] || chown "$SERVER_USER" "$directory"
        fi
        # In /tmp anybody may have put something there first.
        if [ -L "$directory" ] || ! as_server test -O "$directory"; then
            die "$directory belongs to somebody else; remove it"
        fi
    done
    # Trust reaches as far as this directory lets somebody in.
    as_server chmod 0700 "$SOCKET_DIR"
}

initialize() {
    say "Initializing a database cluster in $PGDATA."
    as_server "$PG_BIN/initdb" -D "$PGDATA" -U postgres --no-locale -E UTF8 -A trust \
        >"$SANDBOX/initdb.log" 2>&1 || { cat "$SANDBOX/initdb.log" >&2; die "initdb failed"; }
}

# PostgreSQL clears up after a server that died, unless its number belongs to
# another process by now (after a reboot, or because nobody has collected the
# dead one). Then its lock files go, once none of its processes is left: all of
# them run in the data directory.
forget_dead_server() {
    [ -d /proc/self ] && as_server test -f "$PGDATA/postmaster.pid" || return 0
    for _ in {1..20}; do
        if [ -z "$(as_server find /proc -maxdepth 2 -name cwd -lname "$PGDATA" 2>/dev/null)" ]; then
            as_server rm -f "$PGDATA/postmaster.pid" "$SOCKET_DIR/.s.PGSQL.$SERVER_PORT" \
                "$SOCKET_DIR/.s.PGSQL.$SERVER_PORT.lock"
            return 0
        fi
        sleep 0.5
    done
    say "Processes of a server that died are still there."
}

# Written at every start, so that a change here reaches an existing cluster.
configure() {
    as_server tee "$PGDATA/postgresql.conf" >/dev/null <<CONF
listen_addresses = ''
port = $SERVER_PORT
unix_socket_directories = '$SOCKET_DIR'
max_connections = 200
shared_buffers = 256MB
# Durability is part of what is measured.
fsync = on
synchronous_commit = on
# Tests subscribe; what is measured has PostgreSQL's default.
wal_level = ${WALLET_WAL_LEVEL:-logical}
max_prepared_transactions = 10
# A standby that a test copies has no slot. Other tests drop databases, which recycles WAL.
wal_keep_size = 1GB
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %e %q%a %u@%d '
log_lock_waits = on
CONF
    # Only the clock's owner moves it, and nothing of such a server outlives its test.
    [ -z "${WALLET_CLOCK:-}" ] || as_server tee -a "$PGDATA/postgresql.conf" >/dev/null <<CONF
autovacuum = off
fsync = off
CONF
    as_server tee "$PGDATA/pg_hba.conf" >/dev/null <<CONF
local all all trust
local replication all trust
CONF
}

# The file with the time of a server that has a clock of its own.
clock_file() {
    [ "$(uname)" = Linux ] || return 3
    printf '%s\n' "$SANDBOX/server/clock${SERVER_NAME:+-$SERVER_NAME}"
}

# Runs a command so that its processes have the time of that file, where the server has a clock of
# its own.
with_clock() {
    if [ -z "${WALLET_CLOCK:-}" ]; then
        as_server "$@"
        return
    fi
    local library=$SANDBOX/clock.so
    cc -Wall -Wextra -Werror -O2 -shared -fPIC -o "$library.new" "$WALLET_ROOT/tests/simulation/clock.c"
    mv "$library.new" "$library"
    as_server env LD_PRELOAD="$library" WALLET_CLOCK_FILE="$(clock_file)" "$@"
}

start() {
    "$WALLET_ROOT/scripts/pg-tree.sh"
    one_at_a_time start
    if running; then return 0; fi
    prepare_directories
    as_server test -f "$PGDATA/PG_VERSION" || initialize
    forget_dead_server
    configure
    # Its streams go to the log and the lock stays here, so that nobody waits
    # for it to close ours.
    with_clock "$PG_BIN/pg_ctl" start -D "$PGDATA" -w -t 60 -s -l "$SERVER_LOG" \
        </dev/null >/dev/null 2>&1 9>&- || {
        as_server tail -n 30 "$SERVER_LOG" >&2
        die "the server did not start; its log is $SERVER_LOG"
    }
}

# stop [MODE]: as pg_ctl has them; immediate is what a crash looks like.
stop() {
    if running; then
        as_server "$PG_BIN/pg_ctl" stop -D "$PGDATA" -w -t 60 -s -m "${1:-fast}"
    fi
}

# Copies the first server, which must run, and follows it.
standby() {
    prepare_directories
    as_server "$PG_BIN/pg_basebackup" -h "$SOCKET_DIR" -p "$MAIN_PORT" -U postgres -D "$PGDATA" \
        --checkpoint=fast --write-recovery-conf --no-sync
    start
}

remove() {
    stop immediate
    as_server rm -rf "$PGDATA"
    rm -f "$SANDBOX/server/clock-$SERVER_NAME"
}

if [ -z "$SERVER_NAME" ]; then
    case ${1:-} in
        standby | promote | remove | clock) die "$1 is for a second server, which WALLET_SERVER names" ;;
    esac
fi
case ${1:-} in
    start) start ;;
    standby) standby ;;
    promote) as_server "$PG_BIN/pg_ctl" promote -D "$PGDATA" -w -t 60 -s ;;
    remove) remove ;;
    clock) clock_file ;;
    stop)
        # With it what a killed test has left of others.
        for data in "$PGDATA"-*; do
            if [ -z "$SERVER_NAME" ] && [ -d "$data" ]; then
                WALLET_SERVER=${data#"$PGDATA"-} "$WALLET_ROOT/scripts/server.sh" remove
            fi
        done
        # All programs of the test of high availability work in one directory.
        if [ -d "$SANDBOX/ha" ] && [ -z "$SERVER_NAME" ]; then
            find /proc -maxdepth 2 -name cwd -lname "$SANDBOX/ha/*" 2>/dev/null |
                sed -nE 's#^/proc/([0-9]+)/cwd$#\1#p' | xargs -r kill -9 || true
        fi
        stop
        ;;
    restart) stop; start ;;
    crash) stop immediate; start ;;
    status)
        if running; then
            echo "running: psql -h $SOCKET_DIR -p $SERVER_PORT -U postgres, log $SERVER_LOG"
        else
            echo "not running"
            exit 3
        fi
        ;;
    *) die "usage: server.sh start|stop|restart|crash|status|standby|promote|remove|clock" ;;
esac
