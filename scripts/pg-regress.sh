#!/usr/bin/env bash
# pg-regress.sh PROGRAM DIRECTORY KIND [TEST...]: what the tasks regress and isolation of
# scripts/run share. They call it with the server's environment. KIND is sql or spec, the ending of
# the tests' names.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

program=$("$PG_BIN/pg_config" --pkglibdir)/pgxs/src/test/$1
directory=$WALLET_ROOT/$2
kind=$3
shift 3
[ -x "$program" ] || die "${program##*/} is missing; 'make setup' installs it"

name=$(basename "$directory")
case $kind in
    sql) database=regress_wallet tests=$directory/sql ;;
    spec) database=isolation_wallet tests=$directory/specs ;;
esac
output=$WALLET_ROOT/target/$name

what=()
if [ $# -gt 0 ]; then
    what=("$@")
elif [ -f "$directory/schedule" ]; then
    what=("--schedule=$directory/schedule")
else
    for file in "$tests"/*."$kind"; do
        if [ -e "$file" ]; then what+=("$(basename "$file" ".$kind")"); fi
    done
fi
if [ ${#what[@]} -eq 0 ]; then
    echo "There are no tests in $tests."
    exit 0
fi

# Since version 16 the expected files' place has an option of its own.
expected=()
if "$program" --help | grep -q -- --expecteddir; then
    expected=("--expecteddir=$directory")
fi

rm -rf "$output"
mkdir -p "$output"
dropdb --if-exists --force "$database" 2>/dev/null
createdb --template template0 "$database"
if [ "$kind" = spec ]; then psql -qX -v ON_ERROR_STOP=1 -d "$database" -c 'CREATE EXTENSION wallet'; fi
# Not PGOPTIONS: env.sh unsets what could lead the clients elsewhere.
if [ -n "${WALLET_STORAGE:-}" ]; then
    psql -qX -v ON_ERROR_STOP=1 -d "$database" -c "ALTER DATABASE $database SET wallet.storage = '$WALLET_STORAGE'"
fi

if ! "$program" --use-existing --dbname="$database" --bindir="$PG_BIN" \
    --host="$PGHOST" --port="$PGPORT" --user="$PGUSER" \
    --inputdir="$directory" --outputdir="$output" \
    ${expected[@]+"${expected[@]}"} "${what[@]}"; then
    if [ -s "$output/regression.diffs" ]; then cat "$output/regression.diffs"; fi
    say "The results are in $output/results; what is right goes to $directory/expected."
    exit 1
fi
dropdb --force "$database"
