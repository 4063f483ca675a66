#!/usr/bin/env bash
# The tests of make test that have random input or many connections, at length:
# WALLET_TEST_SCALE times as long as there (20). Each prints its seed. The workers' hour of faults, which
# takes twelve seconds in make test, is a whole one with 300.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

export WALLET_TEST_SCALE=${WALLET_TEST_SCALE:-20}
say "WALLET_TEST_SCALE is $WALLET_TEST_SCALE."
"$WALLET_ROOT/scripts/client.sh" property --nocapture
"$WALLET_ROOT/scripts/client.sh" simulation --nocapture
"$WALLET_ROOT/scripts/client.sh" crash --nocapture
for name in drain:: lanes:: limits:: limit_rules:: several:: batch:: topups:: grants:: scoped:: prices:: rollups:: workers::; do
    "$WALLET_ROOT/scripts/client.sh" client --nocapture "$name"
done
"$WALLET_ROOT/scripts/sqlsmith.sh"
