#!/usr/bin/env bash
# Formats the Rust sources.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cargo fmt --all
