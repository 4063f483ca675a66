#!/usr/bin/env bash
# test-versions.sh [SUITE [STAGE...]]: the tests on the PostgreSQL of other Debian suites (trixie:
# 17, sid: 18), each in a system of its own below target/chroots with its own build and server, as
# an unprivileged user. It has this machine's Rust, and this checkout's files as they are, committed
# or not.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

suites=(trixie sid)
if [ $# -gt 0 ]; then suites=("$1"); shift; fi
stages=("$@")
if [ $# -eq 0 ]; then stages=("${VERSION_STAGES[@]}"); fi

home=/home/wallet
rust=$(rustc --print sysroot)
cargo_home=${CARGO_HOME:-$HOME/.cargo}
cargo fetch --quiet --locked

# in_suite OPTION... COMMAND...: with Rust, and no other way to crates than those that are here.
in_suite() {
    local registry=$cargo_home/registry there=$home/.cargo/registry
    # Crates are unpacked there again: some have files that only their owner can read.
    "$WALLET_ROOT/scripts/chroot.sh" run --bind "$rust:/opt/rust" \
        --bind "$registry/cache:$there/cache" --bind "$registry/index:$there/index" \
        --bind "$(command -v cargo-pgrx):/usr/local/bin/cargo-pgrx" "$suite" \
        env PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        CARGO_HOME=$home/.cargo CARGO_NET_OFFLINE=true CARGO_TERM_COLOR=never CI="${CI:-}" "$@"
}

# The sources and the examples' dependency, without what was made of them; what was made of them
# there stays.
lay_sources() {
    local place=$WALLET_ROOT/target/chroots/$suite$home/checkout
    mkdir -p "$place"
    find "$place" -mindepth 1 -maxdepth 1 ! -name target -exec rm -rf --one-file-system {} +
    git ls-files -z --cached --others --exclude-standard |
        while IFS= read -r -d '' file; do if [ -e "$file" ]; then printf '%s\0' "$file"; fi; done |
        tar -c --null --files-from=- | tar -x -C "$place"
    cp -R examples/node_modules "$place/examples/"
}

status=0
for suite in "${suites[@]}"; do
    "$WALLET_ROOT/scripts/chroot.sh" make "$suite" "$suite"
    lay_sources
    # make setup installs all that this version needs.
    in_suite bash -euc "
        id wallet >/dev/null 2>&1 || useradd --home-dir $home --shell /bin/bash wallet
        $home/checkout/scripts/setup.sh </dev/null
        chown wallet: $home $home/.cargo $home/.cargo/registry
        find $home/checkout -not -user wallet -exec chown -h wallet: {} +"
    in_suite runuser -u wallet -- env HOME=$home "$home/checkout/scripts/test.sh" "${stages[@]}" || status=$?
    say "That was PostgreSQL $(in_suite sh -c 'cat /usr/lib/postgresql/*/lib/pgxs/src/Makefile.global' | sed -n 's/^VERSION *= *//p') of Debian $suite."
done
exit "$status"
