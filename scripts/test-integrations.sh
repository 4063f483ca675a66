#!/usr/bin/env bash
# scripts/test-integrations.sh [python|node] [ARGUMENT...]: the packages in integrations/, both or
# the one that is named: linters, types, and tests against this checkout's server with the official
# SDKs and mock providers from PyPI and npm, for Python with the LiteLLM proxy. The word short
# leaves out the tests that take long; overhead measures what a wrapped call costs. Other arguments
# go to pytest or node --test; without a package they are pytest's.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

test_python() {
    local package=$WALLET_ROOT/integrations/python recent python bin
    recent=$(find_python_of 3.11) || die "the integrations' tests need Python 3.11 or newer"
    python=$(python_environment integrations "$package/tests/requirements.txt" "$recent")
    bin=$(dirname "$python")
    # Editable, so that the tests see the sources as they are.
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
        --editable "$package" >&2
    cd "$package"
    if [ "${1:-}" = overhead ]; then
        "$WALLET_ROOT/scripts/run" with-server "$python" "$package/tests/overhead.py"
        return
    fi
    if [ "$#" -eq 0 ]; then
        "$bin/ruff" format --check src tests
        "$bin/ruff" check src tests
        "$bin/mypy"
    fi
    # shellcheck disable=SC2016 # the inner shell expands it
    "$WALLET_ROOT/scripts/run" with-server sh -c 'cd "$1" && shift && exec "$@"' sh "$package" \
        "$python" -m pytest ${short:+-m 'not long'} "$@"
}

test_node() {
    local package=$WALLET_ROOT/integrations/node
    cd "$package"
    node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' ||
        die "the integrations' tests need Node.js 20 or newer"
    if ! cmp -s package-lock.json node_modules/.installed-lock.json; then
        # The packages contain all they need: none of their scripts runs.
        npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2
        cp package-lock.json node_modules/.installed-lock.json
    fi
    if [ "${1:-}" = overhead ]; then
        "$WALLET_ROOT/scripts/run" with-server npm --prefix "$package" run --silent overhead
        return
    fi
    if [ "$#" -eq 0 ]; then
        npm run --silent check
        set -- tests/*.test.ts
        if [ -n "$short" ]; then set -- tests/{client,request,approval,parallel,wrap-openai,wrap-anthropic}.test.ts; fi
    fi
    "$WALLET_ROOT/scripts/run" with-server npm --prefix "$package" test --silent -- "$@"
}

"$WALLET_ROOT/scripts/build.sh"
short=
if [ "${1:-}" = short ]; then short=yes && shift; fi
case "${1:-}" in
    python | node)
        chosen=$1
        shift
        "test_$chosen" "$@"
        ;;
    '' | overhead)
        (test_python "$@")
        (test_node "$@")
        ;;
    *) test_python "$@" ;;
esac
