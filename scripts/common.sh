# shellcheck shell=bash
# The part that every script shares and that works before anything is installed.
# Sourced, never run.

# Files made here must be readable by the server's user whatever umask the
# caller has; those that must be private get their own mode.
umask 022

WALLET_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
export WALLET_ROOT
cd "$WALLET_ROOT" || exit 1

# A rustup installation that no login shell has put into PATH yet.
CARGO_BIN=${CARGO_HOME:-${HOME:-/}/.cargo}/bin
if ! command -v cargo >/dev/null && [ -x "$CARGO_BIN/cargo" ]; then
    PATH=$CARGO_BIN:$PATH
fi

# rust-toolchain.toml names the toolchain. Where rustup does not have it (setup.sh tries to get it),
# its default one builds the extension too.
PINNED_RUST_MISSING=''
# shellcheck disable=SC2034 # used where this is sourced
if [ -z "${RUSTUP_TOOLCHAIN:-}" ] && command -v rustup >/dev/null && ! rustup which rustc >/dev/null 2>&1; then
    PINNED_RUST_MISSING=yes
    RUSTUP_TOOLCHAIN=$(rustup default 2>/dev/null | cut -d' ' -f1)
    export RUSTUP_TOOLCHAIN
fi

# The stages of test.sh that depend on the version of PostgreSQL. The others look at sources alone,
# count instructions, which are recorded for one version, or test the package.
# shellcheck disable=SC2034
VERSION_STAGES=(build unit pg regress isolation isolation-spi client property dump crash servers upgrade docs)

say() { printf '%s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# A digest of standard input, by whichever tool the system has.
digest() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -c1-64
}

# The major versions of PostgreSQL for which Cargo.toml has a feature, newest first.
read -r -d '' -a PG_VERSIONS < <(sed -nE 's/^pg([0-9]+) = .*/\1/p' Cargo.toml | sort -rn) || true
# shellcheck disable=SC2034 # used where this is sourced
PG_SUPPORTED="PostgreSQL ${PG_VERSIONS[${#PG_VERSIONS[@]} - 1]} to ${PG_VERSIONS[0]}"

is_supported() {
    case " ${PG_VERSIONS[*]} " in
        *" $1 "*) return 0 ;;
        *) return 1 ;;
    esac
}

# The system's pg_config: $PG_CONFIG if that is set, otherwise the newest supported
# version that has server headers. Debian keeps one below each version's own
# directory; its /usr/bin/pg_config may belong to a version without headers.
find_pg_config() {
    local candidate candidates=("${PG_CONFIG:-}")
    if [ -z "${PG_CONFIG:-}" ]; then
        candidates=("${PG_VERSIONS[@]/#//usr/lib/postgresql/}" "${PG_VERSIONS[@]/#//usr/pgsql-}")
        candidates=("${candidates[@]/%//bin/pg_config}" "$(command -v pg_config || true)")
    fi
    for candidate in "${candidates[@]}"; do
        if usable_pg_config "$candidate"; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    return 1
}

# The major version that a pg_config belongs to.
pg_major_of() {
    "$1" --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/'
}

# Whether a pg_config belongs to a supported server with headers.
usable_pg_config() {
    local major bin
    [ -n "$1" ] && [ -x "$1" ] || return 1
    major=$(pg_major_of "$1")
    is_supported "$major" || return 1
    bin=$("$1" --bindir)
    [ -x "$bin/postgres" ] && [ -x "$bin/initdb" ] &&
        [ -f "$("$1" --includedir-server)/postgres.h" ]
}

# A Python that has a module: Debian's packages belong to /usr/bin/python3.
find_python_with() {
    local python
    for python in python3 /usr/bin/python3; do
        if "$python" -c "import $1" 2>/dev/null; then
            echo "$python"
            return 0
        fi
    done
    return 1
}

# A Python that is at least that version, such as 3.12: the default one, another by its name, or one
# of pyenv.
find_python_of() {
    local python minor=${1#3.}
    for python in python3 python3.{20..10} "${PYENV_ROOT:-${HOME:-/}/.pyenv}"/versions/3.*/bin/python3; do
        if "$python" -c "import sys; sys.exit(sys.version_info < (3, $minor))" 2>/dev/null; then
            echo "$python"
            return 0
        fi
    done
    return 1
}

# python_environment NAME REQUIREMENTS [PYTHON]: a virtual environment with the packages from PyPI
# that the file lists, made again when the list changes. Prints its Python.
python_environment() {
    local environment=$WALLET_ROOT/target/$1
    if ! cmp -s "$2" "$environment/requirements.txt"; then
        rm -rf "$environment"
        "${3:-python3}" -m venv "$environment"
        "$environment/bin/pip" install --quiet --disable-pip-version-check --no-compile --requirement "$2" >&2
        cp "$2" "$environment/"
    fi
    printf '%s\n' "$environment/bin/python"
}

# The names of the tests that are in tests/Cargo.toml, one per line.
rust_tests() {
    awk '/^\[/ { test = $0 == "[[test]]" } test && /^name *=/ { gsub(/.*= *"|".*/, ""); print }' "$WALLET_ROOT/tests/Cargo.toml"
}
