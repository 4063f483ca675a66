#!/usr/bin/env bash
# The installation script and every upgrade script as pgspot sees them (tests/pgspot), in an environment
# of its own with what PyPI has of it.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/build.sh"
version=$(extension_version)
scripts=("$("$PG_BIN/pg_config" --sharedir)/extension/wallet--$version.sql")
for script in sql/wallet--*--*.sql; do
    if [ -e "$script" ]; then scripts+=("$script"); fi
done
python=$(python_environment pgspot "$WALLET_ROOT/tests/pgspot/requirements.txt")
exec "$python" "$WALLET_ROOT/tests/pgspot/check.py" "${scripts[@]}"
