#!/usr/bin/env bash
# The checks that run nothing: formatting, clippy over all
# targets, the shell scripts, the crates.
set -euo pipefail
# shellcheck source=scripts/env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

"$WALLET_ROOT/scripts/pg-tree.sh"

scripts=(.ci/run scripts/run scripts/*.sh scripts/as-root/sudo tests/package/*.sh examples/clients/*.sh)
for script in "${scripts[@]}"; do bash -n "$script"; done
if command -v shellcheck >/dev/null; then
    shellcheck --external-sources "${scripts[@]}"
else
    say "shellcheck is not installed: the scripts' syntax alone was checked."
fi

cargo fmt --all --check
cargo clippy --workspace --all-targets --no-default-features --features "$TEST_FEATURES" -- -D warnings

# Licences, registries and advisories of the crates: deny.toml. The list of advisories needs the
# network.
if command -v cargo-deny >/dev/null; then
    cargo deny --workspace check licenses bans sources
    if cargo deny fetch db >/dev/null 2>&1; then
        cargo deny --workspace check advisories
    else
        say "The list of advisories cannot be fetched: they were not checked."
    fi
else
    say "cargo-deny is not installed: the crates' licences and advisories were not checked."
fi
