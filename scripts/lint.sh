#!/usr/bin/env bash
# What can be judged without running anything: formatting, clippy over all
# targets, the shell scripts.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/pg-tree.sh"

scripts=(.ci/run scripts/*.sh scripts/as-root/sudo tests/package/*.sh examples/clients/*.sh)
for script in "${scripts[@]}"; do bash -n "$script"; done
if command -v shellcheck >/dev/null; then
    shellcheck --external-sources "${scripts[@]}"
else
    say "shellcheck is not installed: the scripts' syntax alone was checked."
fi

cargo fmt --all --check
cargo clippy --workspace --all-targets --no-default-features --features "$TEST_FEATURES" -- -D warnings
