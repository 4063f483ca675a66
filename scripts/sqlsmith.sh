#!/usr/bin/env bash
# Random statements by sqlsmith against a database with data, as superuser and as each level: no crash, no internal
# error, and verify() finds nothing. WALLET_TEST_SCALE=10 for ten times as long.
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
    for level in reader charger billing admin; do
        psql -qX -c "DROP ROLE IF EXISTS ${database}_$level" 2>/dev/null || true
    done
}
sql() { psql -qXAt -v ON_ERROR_STOP=1 -d "$database" -c "$1"; }

# What must not be in the server's log of this run. sqlsmith finds internal errors
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
for level in reader charger billing admin; do
    role=${database}_$level
    sql "CREATE ROLE $role LOGIN; SELECT wallet.grant_access('$role', '$level', w) FROM unnest(ARRAY['acme', 'hot']) w" >/dev/null
    roles+=("$role")
done
status=0
for role in "${roles[@]}"; do
    logged=$(as_server cat "$SERVER_LOG" | wc -c)
    timeout "$seconds" sqlsmith --verbose --exclude-catalog --seed="$seed" --target="host=$PGHOST port=$PGPORT dbname=$database user=$role" \
        >"$output/$role.out" 2>&1 || true
    as_server tail -c "+$((logged + 1))" "$SERVER_LOG" >"$output/log"
    wrong=$(bad_lines)
    # That it was at work: statements that the wallet's own functions refused.
    asked=$(grep -ac 'twins\.' "$output/log" || true)
    broken=$(sql "SELECT count(*) FROM wallet.wallets w, wallet.verify(w.wallet_id) v WHERE NOT v.ok")
    if [ -n "$wrong" ] || [ "$broken" != 0 ] || [ "$asked" -lt 5 ]; then
        status=1 verdict=FAILED
    else
        verdict=ok
    fi
    printf 'test sqlsmith_%-32s ... %s %8d ms\n' "$role" "$verdict" "$((seconds * 1000))"
    if [ "$verdict" = FAILED ]; then
        printf '  seed %s, %s statements of the wallet, %s broken checks\n%s\n' "$seed" "$asked" "$broken" "$wrong"
    fi
done
if [ "$status" -eq 0 ]; then clean; else say "The statements are in $output."; fi
exit "$status"
