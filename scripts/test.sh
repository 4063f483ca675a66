#!/usr/bin/env bash
# test.sh [STAGE...]: lint and every kind of test, or those named, one after the
# other, to the end even if one fails; then a table, and on the last line how
# many tests passed and failed.
set -uo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

logs=$WALLET_ROOT/target/test-logs
rm -rf "$logs"
mkdir -p "$logs"
passed=0 failed=0 table='' worst=0
wanted=" $* "

# sum LOG PATTERN: the sum of the numbers that the pattern's group matches.
sum() { sed -nE "s/$2/\1/p" "$1" | awk '{ n += $1 } END { print n + 0 }'; }
# lines LOG PATTERN: how many lines match.
lines() { grep -cE "$2" "$1" || true; }

# stage NAME COMMAND...: runs it, shows and keeps its output, counts its tests
# in the words of cargo test, of pg_regress, before version 16 and since, of pytest and of Node.js.
stage() {
    local name=$1 log=$logs/$1.log begun=$SECONDS status=0 good bad took
    shift
    if [ "$wanted" != '  ' ] && [ "${wanted#* "$name" }" = "$wanted" ]; then return 0; fi
    printf '\n=== %s\n' "$name"
    "$@" 2>&1 </dev/null | tee "$log" || status=1
    took=$((SECONDS - begun))
    good=$(($(sum "$log" '^test result: .* ([0-9]+) passed;.*') +
        $(lines "$log" '^(test | {5})[^ ]+ +\.\.\. ok +[0-9]+ ms') +
        $(lines "$log" '^ok [0-9]+ ') +
        $(sum "$log" '^=+[^=]* ([0-9]+) passed.* in [0-9.]+s.*') +
        $(sum "$log" '^. pass ([0-9]+)$')))
    bad=$(($(sum "$log" '^test result: .* ([0-9]+) failed;.*') +
        $(lines "$log" '^(test | {5})[^ ]+ +\.\.\. FAILED( \(.*\))? +[0-9]+ ms') +
        $(lines "$log" '^not ok [0-9]+ ') +
        $(sum "$log" '^=+[^=]* ([0-9]+) failed.* in [0-9.]+s.*') +
        $(sum "$log" '^=+[^=]* ([0-9]+) errors?.* in [0-9.]+s.*') +
        $(sum "$log" '^. fail ([0-9]+)$')))
    # A stage that failed without naming a test (a build, lint) counts as one.
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    if [ "$status" -ne 0 ] || [ "$bad" -ne 0 ]; then worst=1; fi
    passed=$((passed + good)) failed=$((failed + bad))
    table+=$(printf '%-14s %6d s %6d passed %6d failed' "$name" "$took" "$good" "$bad")$'\n'
}

stage lint scripts/lint.sh
stage build scripts/build.sh
stage pgspot scripts/run pgspot
stage unit scripts/run unit
stage pg scripts/test-pg.sh
stage regress scripts/run regress
stage isolation scripts/run isolation
# Both ways to the hot tables wait, raise and answer the same.
stage isolation-spi env WALLET_STORAGE=spi scripts/run isolation
# There is no valgrind for macOS on Apple's processors.
if [ "$(uname)" != Darwin ]; then stage instructions scripts/bench-callgrind.sh check; fi
# Every test over real connections that there is.
while IFS= read -r name; do
    case $name in
        # A run that is known to agree, so that a change is judged by what it changes; 'make
        # test-simulation' makes others.
        simulation) stage "$name" env WALLET_SEED="${WALLET_SEED:-1795985937744785728}" scripts/run "$name" ;;
        # It prints how long each failover took, or that it was skipped.
        ha) stage "$name" scripts/run "$name" --nocapture ;;
        *) stage "$name" scripts/run "$name" ;;
    esac
done < <(rust_tests)

stage walletd scripts/run walletd
stage walletd-api scripts/run walletd-api short
stage walletd-webhooks scripts/run walletd-webhooks
stage walletd-stripe scripts/run walletd-stripe short
stage walletd-page scripts/run walletd-page

# Neither is there for macOS.
if [ "$(uname)" != Darwin ]; then
    stage package scripts/test-package.sh
    stage sqlsmith scripts/sqlsmith.sh
fi

# Without what takes long; all of it is in 'make test-integrations'.
stage integrations scripts/test-integrations.sh short

printf '\n%s\n' "$table"
echo "$passed passed, $failed failed"
exit "$worst"
