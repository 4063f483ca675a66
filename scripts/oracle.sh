#!/usr/bin/env bash
# Compares prices with the calculators of LiteLLM and of genai-prices, usage with genai-prices'
# extraction of it and the types of the current SDKs, and checks focus_csv() with the validator of
# FOCUS (tests/oracle), in environments of their own.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/build.sh"
python=$(python_environment oracle "$WALLET_ROOT/tests/oracle/requirements.txt")
database=wallet_oracle
sql() { "$WALLET_ROOT/scripts/run" with-server psql -X -q -c "SET client_min_messages = warning" -c "$1"; }
sql "DROP DATABASE IF EXISTS $database"
sql "CREATE DATABASE $database TEMPLATE template0 ENCODING 'UTF8'"
status=0
ask() {
    WALLET_ORACLE_DATABASE="dbname=$database" "$WALLET_ROOT/scripts/run" with-server \
        "$1" "$WALLET_ROOT/tests/oracle/$2.py" || status=$?
}
ask "$python" litellm_oracle
ask "$python" genai_oracle
# The oldest Python that the SDKs and the validator run on.
python_of_sdks=3.11 python_of_validator=3.12
if recent=$(find_python_of "$python_of_sdks"); then
    sdks=$(python_environment sdks "$WALLET_ROOT/tests/oracle/sdk_requirements.txt" "$recent")
    # The newest SDKs, so that additions to them are noticed.
    "$sdks" -m pip install --quiet --disable-pip-version-check --upgrade --requirement "$WALLET_ROOT/tests/oracle/sdk_requirements.txt"
    ask "$sdks" genai_usage_oracle
    ask "$sdks" sdk_oracle
else
    say "The SDKs are left out: they need Python $python_of_sdks or newer."
fi
sql "DROP DATABASE $database"
sql "CREATE DATABASE $database TEMPLATE template0 ENCODING 'UTF8'"
if newer=$(find_python_of "$python_of_validator"); then
    validating=$(python_environment focus "$WALLET_ROOT/tests/oracle/focus_requirements.txt" "$newer")
    WALLET_ORACLE_DATABASE=$database "$WALLET_ROOT/scripts/run" with-server \
        "$validating" "$WALLET_ROOT/tests/oracle/focus_oracle.py" || status=$?
else
    say "The validator of FOCUS is left out: it needs Python $python_of_validator or newer."
fi
sql "DROP DATABASE $database"
exit "$status"
