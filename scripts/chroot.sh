#!/usr/bin/env bash
# Debian systems below target/chroots, for what must not touch the machine or needs another version
# of PostgreSQL.
#
#   chroot.sh make NAME SUITE               by debootstrap, from this machine's mirror, if missing
#   chroot.sh run [OPTION...] NAME COMMAND  as root in it; mounts and processes end with the command
#     --scratch         what it writes goes to memory and is gone as well
#     --bind FROM:TO    the machine's file or directory FROM, only to read, is TO in it
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

chroots=$WALLET_ROOT/target/chroots

# The mirror of Debian that this machine's apt uses. apt knows whose a mirror is once it has the
# lists.
mirror() {
    apt-get indextargets --format "\$(REPO_URI)" 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1
}

make_chroot() {
    local name=$1 suite=$2 from new
    [ ! -e "$chroots/$name/.made" ] || return 0
    command -v debootstrap >/dev/null || die "debootstrap is missing; 'make setup' installs it"
    from=$(mirror)
    if [ -z "$from" ]; then
        apt-get update -q >&2 </dev/null || true
        from=$(mirror)
    fi
    [ -n "$from" ] || die "apt has no mirror of Debian here to make a Debian $suite from"
    say "Making a Debian $suite in $chroots/$name (about a minute)."
    new=$chroots/$name.new
    mkdir -p "$chroots"
    rm -rf --one-file-system "$new"
    # The way out that apt takes is debootstrap's and the new system's too.
    local http_proxy='' https_proxy=''
    eval "$(apt-config shell http_proxy Acquire::http::Proxy https_proxy Acquire::https::Proxy)"
    export http_proxy https_proxy
    # In a name space of its own, so that what it mounts cannot stay behind.
    unshare --mount debootstrap --variant=minbase --include=ca-certificates,openssl \
        "$suite" "$new" "$from" >"$chroots/$name.log" 2>&1 || {
        tail -n 20 "$chroots/$name.log" >&2
        die "debootstrap failed; its log is $chroots/$name.log"
    }
    # It can be made again in a minute: nothing needs to be safe against a crash of the machine.
    echo force-unsafe-io >"$new/etc/dpkg/dpkg.cfg.d/90unsafe"
    apt-config dump --no-empty Acquire::http::Proxy Acquire::https::Proxy >"$new/etc/apt/apt.conf.d/90proxy"
    rm -rf --one-file-system "${chroots:?}/$name"
    mv "$new" "$chroots/$name"
    touch "$chroots/$name/.made"
}

# inside SCRATCH BINDS NAME COMMAND...: the first process of the name spaces, which collects the
# orphans.
inside() {
    local scratch=$1 binds=$2 root=$chroots/$3 over=$chroots/.scratch bind target status=0
    shift 3
    if [ "$scratch" = yes ]; then
        mkdir -p "$over"
        mount -t tmpfs tmpfs "$over"
        mkdir "$over/upper" "$over/work" "$over/root"
        mount -t overlay overlay -o "lowerdir=$root,upperdir=$over/upper,workdir=$over/work" "$over/root"
        root=$over/root
    fi
    mount -t proc proc "$root/proc"
    mount -t tmpfs tmpfs "$root/dev/shm"
    while IFS= read -r bind; do
        [ -n "$bind" ] || continue
        target=$root${bind#*:}
        if [ -d "${bind%%:*}" ]; then
            mkdir -p "$target"
        else
            mkdir -p "${target%/*}"
            [ -e "$target" ] || : >"$target"
        fi
        mount --bind "${bind%%:*}" "$target"
        mount -o remount,bind,ro "$target"
    done <<<"$binds"
    chroot "$root" env -i HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@" || status=$?
    exit "$status"
}

run() {
    local scratch=no binds=''
    while :; do
        case $1 in
            --scratch) scratch=yes ;;
            --bind) binds+=$2$'\n'; shift ;;
            *) break ;;
        esac
        shift
    done
    [ -e "$chroots/$1/.made" ] || die "there is no system $1; chroot.sh make makes one"
    exec unshare --mount --propagation private --pid --fork --kill-child \
        "$WALLET_ROOT/scripts/chroot.sh" inside "$scratch" "$binds" "$@"
}

[ "$(id -u)" -eq 0 ] || die "only root can make a Debian system of its own"
case ${1:-} in
    make) shift; make_chroot "$@" ;;
    run) shift; run "$@" ;;
    inside) shift; inside "$@" ;;
    *) die "usage: chroot.sh make NAME SUITE | run [--scratch] [--bind FROM:TO]... NAME COMMAND..." ;;
esac
