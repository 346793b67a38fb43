#!/bin/sh
# Sets up a guest for its job; runs once, as root, from the context disc, under any init.
#
#   setup.sh              everything
#   setup.sh accounts     only groups and users, below $VMBATCH_ROOT
#
# It tells the host what it does over the virtio-serial port org.vmbatch.guest.0, and is frugal
# with processes: under emulation each costs milliseconds, so what a builtin can do, it does.
# Its parts are read from files beside it; a failure ends both arms of a list:
# shellcheck disable=SC1090,SC1091,SC2015,SC2317,SC2034
set -u
LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
umask 022

here=${0%/*}
disc=${here%/*}
root=${VMBATCH_ROOT-}
run=/run/vmbatch
nl='
'
step=setup
channel=

# ---- telling the host -----------------------------------------------------------------------

open_channel() {
    find_channel || { modprobe virtio_console 2>/dev/null && find_channel; } || return 0
    { command exec 9<>"$channel"; } 2>/dev/null || channel=
}

find_channel() {
    for channel in /sys/class/virtio-ports/*/name; do
        [ -r "$channel" ] || continue
        read -r port <"$channel"
        [ "$port" = org.vmbatch.guest.0 ] || continue
        channel=${channel%/name}
        channel=/dev/${channel##*/}
        [ -c "$channel" ] && return 0
    done
    channel=
    return 1
}

# A write waits until the host listens: nothing is lost.
say() { [ -z "$channel" ] || printf '%.900s\n' "$*" >&9; }

phase() {
    step=$1
    say "phase $step"
}

fail() {
    printf 'vmbatch: %s: %s\n' "$step" "$*" >&2
    say "fail $step $*"
    exit 1
}

last_line() {
    last=${1%"$nl"}
    last=${last##*"$nl"}
}

# Percent-decodes $1 into $decoded.
decode() {
    decoded='' rest=$1
    while :; do
        case $rest in *%*) ;; *) break ;; esac
        decoded=$decoded${rest%%\%*}
        rest=${rest#*%}
        byte=$((0x${rest%"${rest#??}"}))
        rest=${rest#??}
        byte=$(printf '%b' "\\0$((byte / 64))$((byte / 8 % 8))$((byte % 8))x")
        decoded=$decoded${byte%x}
    done
    decoded=$decoded$rest
}

# ---- files ----------------------------------------------------------------------------------

set_hostname() {
    printf '%s' "$VB_HOSTNAME" >/proc/sys/kernel/hostname || fail "can't set the host name"
    printf '%s\n' "$VB_HOSTNAME" >/etc/hostname
    if [ -r /etc/hosts ]; then
        while read -r _ name _; do
            [ "$name" = "$VB_HOSTNAME" ] && return
        done </etc/hosts
    fi
    printf '127.0.1.1 %s\n' "$VB_HOSTNAME" >>/etc/hosts
}

install_files() {
    mkdir -p $run/login/.ssh || fail "can't make $run/login"
    place_programs
    set --
    for file in "$disc/prolog.sh" "$disc/epilog.sh"; do
        [ -e "$file" ] && set -- "$@" "$file"
    done
    cp -p "$here/agent.sh" "$here/guest.conf" "$here/ssh_host_ed25519_key" \
        "$here/dropbear_ed25519_host_key" "$@" $bin || fail "can't copy the disc's files"
    place_enter
    read -r key <"$here/authorized_keys" || fail "the disc has no key for the job's owner"
    printf '%s\n' "$key" >$run/login/.ssh/authorized_keys
}

# In the shell of busybox most of what `enter` runs is built in, and so takes no process.
place_enter() {
    if [ -x /bin/busybox ]; then
        { echo '#!/bin/busybox sh' && cat "$here/enter"; } >$bin/enter && chmod 755 $bin/enter
    else
        cp -p "$here/enter" $bin
    fi || fail "can't copy enter"
}

# Some mount /run noexec; programs then get a place of their own.
place_programs() {
    bin=$run
    while read -r _ where _ options _; do
        case $where,$options, in /run,*,noexec,*) bin=$run/bin ;; esac
    done </proc/mounts
    [ $bin != $run ] || return 0
    mkdir -p $bin && mount -t tmpfs -o mode=755,nosuid,nodev vmbatch $bin &&
        ln -sf bin/enter $run/enter || fail "can't mount $bin"
}

# Directories of the owner's own: for `enter`, for the job script, and a home, over which a
# share may come.
owned_directories() {
    set -- $run/jobs
    [ -e "$VB_HOME" ] || set -- "$@" "$VB_HOME"
    if [ -n "$VB_SCRIPT_DIR" ]; then
        if [ ! -e "$VB_SCRIPT_DIR" ] && ! is_shared "$VB_SCRIPT_DIR"; then
            set -- "$@" "$VB_SCRIPT_DIR"
        elif [ ! -k "$VB_SCRIPT_DIR" ] && ! is_owned "$VB_SCRIPT_DIR"; then
            hide "$VB_SCRIPT_DIR"
        fi
    fi
    # shellcheck disable=SC2174 # what is above them is for all to enter
    mkdir -p -m 700 "$@" && chown "$VB_UID:$VB_GID" "$@" || fail "can't give $* to $VB_USER"
}

is_owned() { [ "$(stat -c %u "$1")" = "$VB_UID" ]; }

# Whether the host has the directory.
is_shared() {
    case $1/ in "$VB_HOME"/*) return 0 ;; esac
    for word in $VB_SHARES; do
        decode "${word#*:*:}"
        case $1/ in "$decoded"/*) return 0 ;; esac
    done
    return 1
}

# What the image has there is not the owner's to write: it is covered, not changed.
hide() {
    mount -t tmpfs -o "mode=700,uid=$VB_UID,gid=$VB_GID,nosuid,nodev" vmbatch "$1" ||
        fail "can't mount $1"
}

# ---- the site's prolog ----------------------------------------------------------------------

prolog() {
    [ -e $bin/prolog.sh ] || return 0
    phase prolog
    (
        set -a
        . "$bin/guest.conf"
        exec $bin/prolog.sh
    ) </dev/null >$run/prolog.log 2>&1 9>&-
    status=$? last='' line=''
    while IFS= read -r line || [ -n "$line" ]; do
        say "note $line"
        last=$line
    done <$run/prolog.log
    [ $status = 0 ] || fail "prolog.sh ended with exit status $status: $last"
}

# ---- waiting --------------------------------------------------------------------------------

# Finds the first address that is not the loopback's.
find_address() {
    [ -r /proc/net/fib_trie ] || return 1
    while read -r mark name kind; do
        case $mark in
            '|--') address=$name ;;
            /32) case "$name $kind $address" in
                *' 127.'*) ;;
                'host LOCAL '*) return 0 ;;
            esac ;;
        esac
    done </proc/net/fib_trie
    return 1
}

wait_address() { wait_for 60 find_address; }

# Neither a listening socket nor an address can be waited for from a shell.
wait_for() {
    tries=$(($1 * 20))
    while ! "$2"; do
        [ "$tries" -gt 0 ] || return 1
        tries=$((tries - 1))
        sleep 0.05
    done
}

# ---- all of it ------------------------------------------------------------------------------

once() {
    mkdir -p $run || fail "can't make $run"
    read -r boot </proc/sys/kernel/random/boot_id
    if [ -e $run/started ]; then
        read -r before <$run/started
        [ "$boot" != "$before" ] || exit 0
    fi
    printf '%s\n' "$boot" >$run/started
}

start_agent() {
    [ -z "$channel" ] || setsid sh $bin/agent.sh </dev/null >/dev/null 2>&1 &
}

for part in accounts.sh shares.sh sshserver.sh guest.conf; do
    [ -r "$here/$part" ] || fail "the disc has no $part"
    . "$here/$part"
done
case ${1-} in
    accounts)
        accounts
        exit
        ;;
esac
once
open_channel
accounts
set_hostname
install_files
owned_directories
shares
prolog
ssh_server
start_agent
mask_others
exit 0
