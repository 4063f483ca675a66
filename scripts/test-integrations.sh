#!/usr/bin/env bash
# The packages in integrations/: linters, types, and tests against this checkout's server with the
# official SDKs, the LiteLLM proxy and mock providers from PyPI. Arguments go to pytest; the word
# overhead measures what a wrapped call costs.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/build.sh"
package=$WALLET_ROOT/integrations/python
recent=$(find_python_of 3.11) || die "the integrations' tests need Python 3.11 or newer"
python=$(python_environment integrations "$package/tests/requirements.txt" "$recent")
bin=$(dirname "$python")
# Editable, so that the tests see the sources as they are.
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
    --editable "$package" >&2

cd "$package"
if [ "${1:-}" = overhead ]; then
    exec "$WALLET_ROOT/scripts/run" with-server "$python" "$package/tests/overhead.py"
fi
if [ "$#" -eq 0 ]; then
    "$bin/ruff" format --check src tests
    "$bin/ruff" check src tests
    "$bin/mypy"
fi
exec "$WALLET_ROOT/scripts/run" with-server env --chdir="$package" "$python" -m pytest "$@"
