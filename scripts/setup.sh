#!/usr/bin/env bash
# setup.sh [build|package]: installs what is missing to build and test the extension, and nothing
# that is there. With "build" only what compiling the extension and running it in the private server
# needs; with "package" what the Debian package needs in addition to that. Where it cannot install
# anything, it says all that is missing and how to get it.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

purpose=${1:-test}
case $purpose in
    build | package | test) ;;
    *) die 'usage: setup.sh [build|package]' ;;
esac

# Cargo.toml has both versions.
PGRX_VERSION=$(sed -nE 's/^pgrx = "=(.*)"/\1/p' Cargo.toml)
RUST_MINIMUM=$(sed -nE 's/^rust-version = "1\.([0-9]+)"/\1/p' Cargo.toml) # of 1.x

rust_is_missing() {
    local minor
    command -v cargo >/dev/null && command -v rustc >/dev/null || return 0
    minor=$(rustc --version 2>/dev/null | sed -nE 's/^rustc 1\.([0-9]+)\..*/\1/p')
    [ -z "$minor" ] || [ "$minor" -lt "$RUST_MINIMUM" ]
}

# To build the extension rustup's default toolchain will do, unless it is too old.
if [ -n "$PINNED_RUST_MISSING" ] && { [ "$purpose" = test ] || rust_is_missing; }; then
    say 'Installing the Rust toolchain of rust-toolchain.toml with rustup.'
    if env -u RUSTUP_TOOLCHAIN rustup toolchain install </dev/null; then
        unset RUSTUP_TOOLCHAIN
    else
        say "rustup cannot get it; going on with ${RUSTUP_TOOLCHAIN:-no toolchain}."
    fi
fi

# The missing things, as the packages that Debian has for them, and as words.
packages=() words=()
need() {
    packages+=("$1")
    words+=("$2")
}

# bindgen loads libclang when pgrx is built.
have_libclang() {
    local found
    # The owner's word, as bindgen takes it.
    [ -z "${LIBCLANG_PATH:-}" ] || return 0
    for found in /usr/lib/llvm-*/lib/libclang*.so* /usr/lib*/libclang*.so* /usr/lib/*/libclang*.so* \
        /opt/homebrew/opt/llvm/lib/libclang.dylib /usr/local/opt/llvm/lib/libclang.dylib \
        /Library/Developer/CommandLineTools/usr/lib/libclang.dylib; do
        if [ -e "$found" ]; then return 0; fi
    done
    return 1
}

# Debian's packages of PostgreSQL: for a server that is installed without
# headers its headers, otherwise the distribution's default version.
debian_postgresql() {
    local major
    for major in "${PG_VERSIONS[@]}"; do
        if [ -x "/usr/lib/postgresql/$major/bin/postgres" ]; then
            echo "postgresql-$major postgresql-server-dev-$major"
            return 0
        fi
    done
    major=$(apt-cache show postgresql 2>/dev/null | sed -nE 's/^Version: ([0-9]+).*/\1/p' | sort -rn | head -n 1)
    is_supported "$major" || return 1
    echo "postgresql-$major postgresql-server-dev-$major"
}

pgrx_version() {
    command -v cargo-pgrx >/dev/null || return 0
    cargo pgrx --version 2>/dev/null | sed -E 's/.* //'
}

look() {
    packages=() words=() postgresql=''
    look_for_build
    if [ "$purpose" = package ]; then look_for_package; fi
    if [ "$purpose" = test ]; then look_for_test; fi
    if [ -n "$postgresql" ]; then words+=("$postgresql"); fi
}

look_for_build() {
    local tool
    for tool in cc make; do
        command -v "$tool" >/dev/null || {
            need build-essential 'a C toolchain (cc, make)'
            break
        }
    done
    have_libclang || need libclang-dev 'libclang (LLVM), which the bindings to PostgreSQL are made with'
    find_pg_config >/dev/null ||
        postgresql="$PG_SUPPORTED: the server, its clients and the headers (postgresql-server-dev-NN on Debian and Ubuntu, postgresqlNN-devel on Fedora and RHEL, postgresql@NN with brew)"
}

look_for_package() {
    command -v dpkg-shlibdeps >/dev/null || need dpkg-dev "dpkg-dev, which finds the libraries that the extension needs"
    command -v python3 >/dev/null || need python3 'Python 3, which writes the list of licences and the archive for PGXN'
}

look_for_test() {
    command -v valgrind >/dev/null || [ "$(uname)" = Darwin ] ||
        need valgrind 'valgrind, which counts the instructions of a charge'
    command -v sqlsmith >/dev/null || [ "$(uname)" = Darwin ] ||
        need sqlsmith 'sqlsmith, which makes up statements'
    command -v pgbouncer >/dev/null || need pgbouncer 'PgBouncer, through which pooled connections are tested'
    command -v etcd >/dev/null || [ "$(uname)" = Darwin ] ||
        need etcd-server 'etcd, in which two servers agree on which of them is the primary'
    command -v patroni >/dev/null || [ "$(uname)" = Darwin ] ||
        need patroni 'Patroni, which replaces a primary that fails'
    PATH=$PATH:/usr/sbin command -v haproxy >/dev/null || [ "$(uname)" = Darwin ] ||
        need haproxy 'HAProxy, which leads clients to the primary'
    command -v debootstrap >/dev/null || [ "$(uname)" = Darwin ] ||
        need debootstrap 'debootstrap, which makes clean systems to install into'
    command -v hledger >/dev/null || need hledger 'hledger, which checks journals'
    command -v bean-check >/dev/null || need beancount 'bean-check (beancount), which checks journals'
    command -v chromium chromium-browser google-chrome >/dev/null ||
        need chromium 'Chromium, in which the page of a statement is looked at'
    find_python_with psycopg >/dev/null || need python3-psycopg 'psycopg 3 for Python, which runs the example workers'
    find_python_with asyncpg >/dev/null || need python3-asyncpg 'asyncpg for Python, which runs an example client'
    python3 -c 'import ensurepip, venv' 2>/dev/null ||
        need python3-venv 'venv for Python 3, in which the other price calculator runs'
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
        need nodejs 'Node.js, which runs the example workers'
        need npm 'npm'
    fi
    local pg_config
    if pg_config=$(find_pg_config) &&
        [ ! -x "$("$pg_config" --pkglibdir)/pgxs/src/test/isolation/pg_isolation_regress" ]; then
        postgresql="pg_regress and pg_isolation_regress of PostgreSQL $(pg_major_of "$pg_config") (they come with the headers)"
    fi
    # cargo-pgrx itself is built against OpenSSL, which macOS does without.
    if [ "$(pgrx_version)" != "$PGRX_VERSION" ] && [ "$(uname)" != Darwin ] &&
        ! pkg-config --exists openssl 2>/dev/null; then
        need pkg-config 'pkg-config'
        need libssl-dev "the headers of OpenSSL (libssl-dev, openssl-devel)"
    fi
}

look
rust=''
if rust_is_missing; then rust="Rust 1.$RUST_MINIMUM or newer (https://rustup.rs)"; fi

# How to become root, if at all. Only a person can answer sudo's question.
as_root=(false)
if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    as_root=(sudo)
fi
can_install() {
    command -v apt-get >/dev/null && [ "${as_root[*]-}" != false ]
}

give_up() {
    {
        echo "This is missing, and can't be installed from here:"
        printf '  - %s\n' "$@"
        if command -v apt-get >/dev/null && [ -n "${packages[*]-}$postgresql" ]; then
            echo "As root: apt-get install ${packages[*]-}${postgresql:+ postgresql postgresql-server-dev-all}"
        fi
        echo 'Then run this again.'
    } >&2
    exit 1
}

if [ -n "$rust" ]; then
    if can_install; then words=() packages=() postgresql=''; fi
    give_up "$rust" ${words[@]+"${words[@]}"}
fi

install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" </dev/null
}

# etcd, HAProxy and Patroni are services in their packages. Here they are programs that a test
# starts: the packages must not start them now, and systemd must not at the next boot.
without_services() {
    local policy=/usr/sbin/policy-rc.d status=0 service services=()
    for service in etcd haproxy patroni; do
        case " ${packages[*]} " in
            *" $service"*) services+=("$service") ;;
        esac
    done
    if [ ${#services[@]} -eq 0 ]; then
        "$@"
        return
    fi
    # An administrator's policy stays as it is.
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\ncase $1 in etcd* | haproxy* | patroni*) exit 101 ;; esac\nexit 0\n' |
            "${as_root[@]}" tee "$policy" >/dev/null
        "${as_root[@]}" chmod 0755 "$policy"
    else
        policy=''
    fi
    "$@" || status=$?
    if [ -n "$policy" ]; then "${as_root[@]}" rm -f "$policy"; fi
    if command -v systemctl >/dev/null; then
        "${as_root[@]}" systemctl disable --quiet "${services[@]}" 2>/dev/null || true
    fi
    return "$status"
}

# A server package that is installed for the first time makes and starts a
# cluster on port 5432, which nobody asked for here. The tree of a version that
# is there already is never touched.
without_cluster() {
    local drop_in=/etc/postgresql-common/createcluster.d/wallet-setup.conf
    if compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; then
        "$@"
        return
    fi
    "${as_root[@]}" mkdir -p "${drop_in%/*}"
    echo 'create_main_cluster = false' | "${as_root[@]}" tee "$drop_in" >/dev/null
    local status=0
    "$@" || status=$?
    # Only this installation: what the owner installs later is theirs to set.
    "${as_root[@]}" rm -f "$drop_in"
    return "$status"
}

if [ ${#words[@]} -gt 0 ]; then
    can_install || give_up "${words[@]}"
    say "Installing with apt-get (about $([ "$purpose" = test ] && echo '1 to 3 minutes' || echo '1 minute')):"
    for word in "${words[@]}"; do say "  - $word"; done
    # Lists that are missing or too old for what the archive has.
    "${as_root[@]}" apt-get update -q </dev/null || say 'apt-get update failed; going on with the lists that are there.'
    if [ -n "$postgresql" ]; then
        read -r -a server <<<"$(debian_postgresql)" || true
        [ ${#server[@]} -gt 0 ] ||
            give_up "$PG_SUPPORTED with headers: this distribution's default is another version; add the PostgreSQL project's archive (https://wiki.postgresql.org/wiki/Apt)"
        packages+=("${server[@]}")
    fi
    without_services without_cluster install "${packages[@]}"
    look
    [ ${#words[@]} -eq 0 ] || give_up "${words[@]}"
fi

if [ "$purpose" != test ]; then exit 0; fi

# The Node examples' only dependency, as its lock file says.
if [ ! -d examples/node_modules/pg ]; then
    npm ci --silent --no-audit --no-fund --prefix examples </dev/null
fi

version=$(pgrx_version)
if [ "$version" != "$PGRX_VERSION" ]; then
    # cargo pgrx test is the only command of it that is used here.
    say "Installing cargo-pgrx $PGRX_VERSION with cargo install (about 2 to 5 minutes)${version:+, in place of $version}."
    cargo install cargo-pgrx --version "=$PGRX_VERSION" --locked </dev/null
fi
