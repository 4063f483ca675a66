#!/usr/bin/env bash
# Random statements by sqlsmith against a database with data: as superuser, as each level and as a
# role that claims wallets, which sqlsmith rolls back, and then random calls as an administrator of
# all wallets, each of which is committed. No crash, no internal error, and verify() finds nothing
# wrong with any wallet.
# WALLET_TEST_SCALE=10 for ten times as long.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/build.sh"
"$WALLET_ROOT/scripts/server.sh" start
export_client_environment
command -v sqlsmith >/dev/null || die "sqlsmith is missing; 'make setup' installs it"
seconds=$(awk -v scale="${WALLET_TEST_SCALE:-1}" 'BEGIN { printf "%d", 20 * scale }')
seed=${WALLET_SEED:-$RANDOM}
database=wallet_sqlsmith
output=$WALLET_ROOT/target/sqlsmith
roles=(postgres)

clean() {
    dropdb --if-exists --force "$database" 2>/dev/null || true
    for level in reader auditor charger billing admin claimed committer; do
        psql -qX -c "DROP ROLE IF EXISTS ${database}_$level" 2>/dev/null || true
    done
}
sql() { psql -qXAt -v ON_ERROR_STOP=1 -d "$database" -c "$@"; }

# The lines that must not be in the server's log of this run. sqlsmith finds internal errors
# of PostgreSQL's own as well; those that were looked at are in known.txt.
bad_lines() {
    grep -aE "\] XX[0-9]{3} .*@$database (ERROR|FATAL)|panicked at|terminated by signal|PANIC:" "$output/log" |
        grep -avFf <(grep -v '^#' "$WALLET_ROOT/tests/sqlsmith/known.txt") || true
}

rm -rf "$output"
mkdir -p "$output"
clean
createdb --template template0 --encoding UTF8 "$database"
psql -qX -o /dev/null -d "$database" -v database="$database" -f "$WALLET_ROOT/tests/sqlsmith/scene.sql"
for level in reader auditor charger billing admin; do
    role=${database}_$level
    sql "CREATE ROLE $role LOGIN; SELECT wallet.grant_access('$role', '$level', w) FROM unnest(ARRAY['acme', 'hot']) w" >/dev/null
    roles+=("$role")
done
# A role whose sessions claim two wallets.
role=${database}_claimed
sql "CREATE ROLE $role LOGIN; ALTER ROLE $role SET wallet.claim = '{acme,hot}'; SELECT wallet.grant_access('$role', 'admin', claimed => true)" >/dev/null
roles+=("$role")
status=0

# judge NAME LOGGED ENOUGH WHAT: what the log has since LOGGED, and every wallet; ENOUGH is 1 where
# the run did its WHAT.
judge() {
    local name=$1 logged=$2 enough=$3 what=$4 wrong broken verdict=ok
    as_server tail -c "+$((logged + 1))" "$SERVER_LOG" >"$output/log"
    wrong=$(bad_lines)
    broken=$(sql "SELECT w.wallet_id, v.* FROM wallet.wallets w, wallet.verify(w.wallet_id) v WHERE NOT v.ok")
    if [ -n "$wrong" ] || [ -n "$broken" ] || [ "$enough" != 1 ]; then status=1 verdict=FAILED; fi
    printf 'test sqlsmith_%-32s ... %s %8d ms\n' "$name" "$verdict" "$((seconds * 1000))"
    if [ "$verdict" = FAILED ]; then printf '  seed %s, %s\n%s\n%s\n' "$seed" "$what" "$broken" "$wrong"; fi
}
logged() { as_server cat "$SERVER_LOG" | wc -c; }

for role in "${roles[@]}"; do
    from=$(logged)
    timeout "$seconds" sqlsmith --verbose --exclude-catalog --seed="$seed" --target="host=$PGHOST port=$PGPORT dbname=$database user=$role" \
        >"$output/$role.out" 2>&1 || true
    # That it was at work: statements that the wallet's own functions refused.
    asked=$(as_server tail -c "+$((from + 1))" "$SERVER_LOG" | grep -ac 'twins\.' || true)
    judge "$role" "$from" "$((asked >= 5))" "$asked statements of the wallet"
done

# Random calls, each committed. Only the owner may write the tables themselves, so all that changes
# does so by the wallet's functions.
role=${database}_committer
psql -qX -o /dev/null -d "$database" -f "$WALLET_ROOT/tests/sqlsmith/calls.sql"
sql "CREATE ROLE $role LOGIN; GRANT USAGE ON SCHEMA calls TO $role; SELECT wallet.grant_access('$role', 'admin')" >/dev/null
state() { sql "SELECT (SELECT count(*) FROM wallet.ledger_all), (SELECT count(*) FROM wallet.audit_log), (SELECT count(*) FROM wallet.reservations)" | tr '|' ' '; }
read -r -a before <<<"$(state)"
from=$(logged)
run=0
begun=$SECONDS
while [ $((SECONDS - begun)) -lt "$seconds" ]; do
    run=$((run + 1))
    # Again each time, so that the next calls have what these have made.
    sql "SELECT setseed((($seed + $run) % 1000) / 1000.0)" -c 'SELECT calls.some(300)' | grep '^SELECT' >"$output/committed-$run.sql"
    PGOPTIONS='-c statement_timeout=10s' psql -qX -U "$role" -d "$database" -o /dev/null \
        -f "$output/committed-$run.sql" >>"$output/$role.out" 2>&1 || true
done
read -r -a after <<<"$(state)"
entries=$((after[0] - before[0])) changes=$((after[1] - before[1])) holds=$((after[2] - before[2]))
judge "$role" "$from" "$((entries >= 5 && changes >= 5))" "$entries entries, $changes changes of rules, $holds holds"
printf '  committed: %s entries, %s changes of rules, %s holds\n' "$entries" "$changes" "$holds"
if [ "$status" -eq 0 ]; then clean; else say "The statements are in $output."; fi
exit "$status"
