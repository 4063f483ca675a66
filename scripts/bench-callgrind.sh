#!/usr/bin/env bash
# Instructions a call, counted by callgrind in a server in single-user mode:
# what a change costs is seen on a noisy machine too.
#
#   bench-callgrind.sh            print the counts next to the recorded ones
#   bench-callgrind.sh check      fail when one has grown by more than 5 %
#   bench-callgrind.sh record     record them
#   bench-callgrind.sh profile N  and show the functions of that count
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

mode=${1:-print}
profile=${2:-}
recorded=$WALLET_ROOT/tests/bench/instructions.txt
"$WALLET_ROOT/scripts/build.sh"

calls=1000
usage="'{\"model\":\"gpt-4o\",\"input_tokens\":1000,\"output_tokens\":450}'"
# Calls, each in a transaction of its own.
# shellcheck disable=SC2317,SC2329 # called by name
charge() {
    local n
    for ((n = 0; n < calls; n++)); do
        echo "SELECT entry_id FROM wallet.charge('$1$((1 + n % $2))', $usage, user_id => 'u1', idempotency_key => '$1$n')"
    done
}
# As a role with a grant on all wallets. With claims, each call is for another wallet than the last.
# shellcheck disable=SC2317,SC2329
charge_as() {
    local n
    echo "SET ROLE bench_$1"
    for ((n = 0; n < calls; n++)); do
        if [ "$1" = claimed ]; then echo "SET wallet.claim = 'w$((1 + n % 10))'"; fi
        echo "SELECT entry_id FROM wallet.charge('w$((1 + n % 10))', $usage, user_id => 'u1', idempotency_key => '$1$n')"
    done
}
# shellcheck disable=SC2317,SC2329
price_usage() {
    local n
    for ((n = 0; n < calls; n++)); do echo "SELECT cost FROM wallet.price_usage($usage)"; done
}
# Each with keys of its own: the counts share a database, and a key that was used is a replay.
# shellcheck disable=SC2317,SC2329
hold_and_settle() {
    local n wallet estimate="${usage/450/4096}"
    for ((n = 0; n < calls; n++)); do
        wallet="'plain$((1 + n % 10))'"
        echo "SELECT (wallet.settle($wallet, (SELECT hold_id FROM wallet.hold($wallet, usage => $estimate, user_id => 'u1', idempotency_key => '${1}_h$n')), $usage, idempotency_key => '${1}_s$n')).entry_id"
    done
}
# shellcheck disable=SC2317,SC2329
batch() {
    echo "SELECT count(*) FROM wallet.charge_batch((SELECT jsonb_agg(jsonb_build_object('wallet', 'plain' || 1 + n % 100, 'user_id', 'u' || n % 200, 'usage', jsonb_build_object('model', 'gpt-4o', 'input_tokens', 1000 + n, 'output_tokens', 450), 'idempotency_key', 'b' || n)) FROM generate_series(1, $calls) n))"
}
# name, function, statements
counts=(
    'charge|charge_wrapper|charge w 10'
    'charge_converted|charge_wrapper|charge euro 10'
    'charge_first|charge_wrapper|charge first 1000'
    'charge_month_limit|charge_wrapper|charge month 10'
    'charge_16_lanes|charge_wrapper|charge hot 4'
    'charge_no_limit|charge_wrapper|charge plain 10'
    'hold|hold_wrapper|hold_and_settle hold'
    'settle|settle_wrapper|hold_and_settle settle'
    'batch_item|charge_batch_over_wallets_wrapper|batch'
    'price_usage|price_usage_wrapper|price_usage'
    'charge_four_limits|charge_wrapper|charge four 10'
    'charge_granted|charge_wrapper|charge_as granted'
    'charge_claimed|charge_wrapper|charge_as claimed'
    'charge_child|charge_wrapper|charge child 10'
    'charge_own_limit|charge_wrapper|charge own 10'
    'charge_plan|charge_wrapper|charge p 10'
)

directory=$SANDBOX/callgrind
data=$directory/data
rm -rf "$directory"
mkdir "$directory"
[ "$(id -un)" = "$SERVER_USER" ] || chown "$SERVER_USER" "$directory"
trap 'rm -rf "$directory"' EXIT
log=$WALLET_ROOT/target/callgrind.log
: >"$log"

# run STATEMENT [WRAPPER...]: one statement a line on standard input.
single() {
    as_server "$@" "$PG_BIN/postgres" --single -D "$data" -F -c log_min_messages=error \
        -c shared_buffers=64MB -c timezone=UTC postgres >>"$log" 2>&1
}
as_server "$PG_BIN/initdb" -D "$data" -U postgres --no-locale -E UTF8 -A trust -N >>"$log" 2>&1 ||
    die "initdb failed; see $log"
sed '/^--/d' "$WALLET_ROOT/tests/bench/instructions.sql" | single env ||
    die "the wallets could not be made; see $log"
if grep -E '^(ERROR|FATAL|PANIC)|ERROR: ' "$log" >&2; then die "the wallets could not be made; see $log"; fi

# A charge in another currency than its prices costs at most so much more, in per cent; and a charge
# of a claimed wallet than one by a role that reaches all wallets; and one of a wallet whose limit
# comes from a plan than one with the same limit of its own. One percent of that is the first call,
# which reads when the versions of plans begin. The two that are compared are counted one after the
# other, because the indexes grow with each scene.
conversion=6
claim=3
plan=2
worst=0
result=''
plain=0
granted=0
own=0
for count in "${counts[@]}"; do
    IFS='|' read -r name function statements <<<"$count"
    [ "$mode" != profile ] || [ "$profile" = "$name" ] || continue
    out=$directory/$name
    # shellcheck disable=SC2086 # a function of this script and its arguments
    $statements |
        single valgrind --tool=callgrind --callgrind-out-file="$out" --toggle-collect="$function" ||
        die "callgrind failed; see $log"
    if grep -E 'ERROR: ' "$log" >&2; then die "$name failed; see $log"; fi
    total=$(sed -n 's/^totals: //p' "$out")
    each=$((total / calls))
    [ "$each" -gt 0 ] || die "$name was not counted; see $log"
    was=$(awk -v name="$name" '$1 == name { print $2 }' "$recorded")
    if [ -n "$was" ]; then
        change=$(awk -v a="$each" -v b="$was" 'BEGIN { printf "%+.1f %%", (a / b - 1) * 100 }')
        verdict=ok
        if [ $((each * 100)) -gt $((was * 105)) ]; then verdict=FAILED; fi
    else
        change='not recorded' verdict=FAILED
    fi
    [ "$name" != charge ] || plain=$each
    if [ "$name" = charge_converted ] && [ "$plain" -gt 0 ]; then
        change+=$(awk -v a="$each" -v b="$plain" 'BEGIN { printf ", %+.1f %% of charge", (a / b - 1) * 100 }')
        # The same library counted 4.6 to 5.1 % in different clusters: half a percent is noise.
        if [ $((each * 200)) -gt $((plain * (201 + 2 * conversion))) ]; then verdict=FAILED; fi
    fi
    [ "$name" != charge_granted ] || granted=$each
    if [ "$name" = charge_claimed ] && [ "$granted" -gt 0 ]; then
        change+=$(awk -v a="$each" -v b="$granted" 'BEGIN { printf ", %+.1f %% of charge_granted", (a / b - 1) * 100 }')
        if [ $((each * 100)) -gt $((granted * (100 + claim))) ]; then verdict=FAILED; fi
    fi
    [ "$name" != charge_own_limit ] || own=$each
    if [ "$name" = charge_plan ] && [ "$own" -gt 0 ]; then
        change+=$(awk -v a="$each" -v b="$own" 'BEGIN { printf ", %+.1f %% of charge_own_limit", (a / b - 1) * 100 }')
        if [ $((each * 200)) -gt $((own * (201 + 2 * plan))) ]; then verdict=FAILED; fi
    fi
    if [ "$mode" = check ]; then
        if [ "$verdict" = FAILED ]; then worst=1; fi
        printf 'test instructions_%-24s ... %s %9d ms\n' "$name" "$verdict" 0
    fi
    printf '%-24s %9d instructions a call (%s)\n' "$name" "$each" "$change"
    result+="$name $each"$'\n'
    if [ "$profile" = "$name" ]; then
        callgrind_annotate --inclusive="${INCLUSIVE:-no}" --threshold=98 "$out" 2>/dev/null | sed -n '25,200p'
    fi
done
if [ "$mode" = record ]; then
    { sed -n '/^#/p' "$recorded"; printf '%s' "$result"; } >"$recorded.new"
    mv "$recorded.new" "$recorded"
fi
if [ "$worst" -ne 0 ]; then
    echo "A call takes more than 5 % more instructions than recorded in tests/bench/instructions.txt." >&2
fi
exit "$worst"
