#!/usr/bin/env bash
# The packages in integrations/: linters, types, and tests against this checkout's server with the
# official SDKs, the LiteLLM proxy and mock providers from PyPI. The word short leaves out the tests
# that take long; overhead measures what a wrapped call costs. Other arguments go to pytest.
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
short=
if [ "${1:-}" = short ]; then short=yes && shift; fi
if [ "${1:-}" = overhead ]; then
    exec "$WALLET_ROOT/scripts/run" with-server "$python" "$package/tests/overhead.py"
fi
if [ "$#" -eq 0 ]; then
    "$bin/ruff" format --check src tests
    "$bin/ruff" check src tests
    "$bin/mypy"
fi
# shellcheck disable=SC2016 # the inner shell expands it
exec "$WALLET_ROOT/scripts/run" with-server sh -c 'cd "$1" && shift && exec "$@"' sh "$package" \
    "$python" -m pytest ${short:+-m 'not long'} "$@"
