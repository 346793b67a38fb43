#!/bin/sh
# Sets up a guest for its job; runs once, as root, from the context disc, under any init.
#
#   setup.sh              everything
#   setup.sh accounts     only groups and users, below $VMBATCH_ROOT
#
# It tells the host what it does over the virtio-serial port org.vmbatch.guest.0, and is frugal
# with processes: under emulation each costs milliseconds, so what a builtin can do, it does.
# Functions that are called through a variable, limits that POSIX does not name but every shell
# has, a file of assignments that is not here yet, and failures that end both arms of a list:
# shellcheck disable=SC2317,SC3045,SC1091,SC2015
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

# ---- accounts -------------------------------------------------------------------------------

accounts() {
    phase user
    set_groups
    set_users
    forget_passwords
    allow_shell
}

# The guest's own entries stay, so that its services find theirs; where a gid has another name
# here, the job's name comes first, and so is the one that `id` prints.
set_groups() {
    [ -e "$root/etc/group" ] || printf 'root:x:0:\n' >"$root/etc/group"
    wanted=$nl taken=$nl placed=' ' groups='' name=''
    for word in $VB_GROUPS; do
        decode "${word%:*}"
        wanted=$wanted${word##*:}:$decoded$nl
    done
    while IFS=: read -r name _; do taken=$taken$name$nl; done <"$root/etc/group"
    while IFS=: read -r name password gid users || [ -n "$name" ]; do
        without "$VB_USER" && without "$VB_LOGIN"
        keep_group
    done <"$root/etc/group"
    for word in $VB_GROUPS; do
        gid=${word##*:}
        case $placed in *" $gid "*) continue ;; esac
        decode "${word%:*}"
        is_taken "$decoded" && decoded=$decoded-$gid
        placed="$placed$gid " users=''
        add_members
        groups=$groups$decoded:x:$gid:$users$nl
    done
    printf '%s' "$groups" >"$root/etc/group" || fail "can't write /etc/group"
}

keep_group() {
    if is_wanted; then
        placed="$placed$gid "
        title=${wanted#*"$nl$gid:"}
        title=${title%%"$nl"*}
        if [ "$title" != "$name" ] && ! is_taken "$title"; then
            others=$users users=''
            add_members
            groups=$groups$title:x:$gid:$users$nl
            users=$others
        else
            add_members
        fi
    fi
    groups=$groups$name:$password:$gid:$users$nl
}

is_wanted() {
    case $placed in *" $gid "*) return 1 ;; esac
    case $wanted in *"$nl$gid:"*) return 0 ;; *) return 1 ;; esac
}

is_taken() { case $taken in *"$nl$1$nl"*) return 0 ;; *) return 1 ;; esac; }

add_members() {
    [ "$gid" = "$VB_GID" ] || users=${users:+$users,}$VB_USER,$VB_LOGIN
}

# Takes $1 out of the list $users.
without() {
    while :; do
        case ,$users, in *,"$1",*) ;; *) return 0 ;; esac
        users=,$users,
        users=${users%%,"$1",*},${users#*,"$1",}
        users=${users#,} users=${users%,}
    done
}

# The owner's entry stands before others of the same uid; root's stay first.
set_users() {
    [ -e "$root/etc/passwd" ] || printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
    choose_shell
    head='' tail='' line=''
    while IFS= read -r line || [ -n "$line" ]; do
        name=${line%%:*}
        uid=${line#*:*:}
        case $name in "$VB_USER" | "$VB_LOGIN") continue ;; esac
        case ${uid%%:*} in 0) head=$head$line$nl ;; *) tail=$tail$line$nl ;; esac
    done <"$root/etc/passwd"
    owner="$VB_USER:*:$VB_UID:$VB_GID:$VB_USER:$VB_HOME:$shell"
    login="$VB_LOGIN:*:$VB_UID:$VB_GID:$VB_USER:$run/login:/bin/sh"
    printf '%s' "$head$owner$nl$login$nl$tail" >"$root/etc/passwd" ||
        fail "can't write /etc/passwd"
}

choose_shell() {
    for shell in "$VB_SHELL" /bin/bash /bin/sh; do
        [ -x "$root$shell" ] && return
    done
}

# A password in the image is not the owner's.
forget_passwords() {
    [ -r "$root/etc/shadow" ] || return 0
    kept='' found=no line=''
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in "$VB_USER":* | "$VB_LOGIN":*) found=yes ;; *) kept=$kept$line$nl ;; esac
    done <"$root/etc/shadow"
    [ $found = no ] || printf '%s' "$kept" >"$root/etc/shadow" || fail "can't write /etc/shadow"
}

# ssh servers refuse a login whose shell is not in this list.
allow_shell() {
    [ -r "$root/etc/shells" ] || return 0
    while IFS= read -r line; do
        [ "$line" = /bin/sh ] && return 0
    done <"$root/etc/shells"
    printf '/bin/sh\n' >>"$root/etc/shells"
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
    cp -p "$here/enter" "$here/agent.sh" "$here/guest.conf" "$here/ssh_host_ed25519_key" \
        "$here/dropbear_ed25519_host_key" "$@" $bin || fail "can't copy the disc's files"
    read -r key <"$here/authorized_keys" || fail "the disc has no key for the job's owner"
    printf '%s\n' "$key" >$run/login/.ssh/authorized_keys
}

# Some mount /run noexec; programs then get a place of their own.
place_programs() {
    bin=$run
    while read -r _ where _ options _; do
        case $where,$options, in /run,*,noexec,*) bin=$run/bin ;; esac
    done </proc/mounts
    [ $bin != $run ] || return 0
    mkdir $bin && mount -t tmpfs -o mode=755,nosuid,nodev vmbatch $bin &&
        ln -s bin/enter $run/enter || fail "can't mount $bin"
}

# Directories of the owner's own: for `enter`, for the job script, and a home, over which a
# share may come.
owned_directories() {
    set -- $run/jobs
    [ -e "$VB_HOME" ] || set -- "$@" "$VB_HOME"
    if [ -n "$VB_SCRIPT_DIR" ] && ! is_shared "$VB_SCRIPT_DIR"; then
        if [ ! -e "$VB_SCRIPT_DIR" ]; then
            set -- "$@" "$VB_SCRIPT_DIR"
        elif [ ! -k "$VB_SCRIPT_DIR" ]; then
            hide "$VB_SCRIPT_DIR"
        fi
    fi
    # shellcheck disable=SC2174 # what is above them is for all to enter
    mkdir -p -m 700 "$@" && chown "$VB_UID:$VB_GID" "$@" || fail "can't give $* to $VB_USER"
}

# Whether it is the owner's anyway.
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

# ---- shares ---------------------------------------------------------------------------------

shares() {
    [ -n "$VB_SHARES" ] || return 0
    phase shares
    for word in $VB_SHARES; do
        kinds=${word%%:*} tag=${word#*:}
        decode "${tag#*:}"
        tag=${tag%%:*}
        [ -d "$decoded" ] || mkdir -p "$decoded" || fail "can't make $decoded"
        mount_first "$kinds" "$tag" "$decoded" || fail "$decoded is not there:$reasons"
    done
}

mount_first() {
    reasons=''
    old=$IFS IFS=,
    # shellcheck disable=SC2086 # a list with commas
    set -- "$2" "$3" $1
    IFS=$old
    tag=$1 path=$2
    shift 2
    for kind; do
        mount_"$kind" || mount_again "$kind" && return 0
        last_line "$out"
        reasons="$reasons $kind: $last;"
    done
    return 1
}

# A second time, for kernels that do not load what they lack by themselves.
mount_again() {
    case $1 in
        9p) modprobe -a 9pnet_virtio 9p 2>/dev/null || { modprobe 9pnet_virtio && modprobe 9p; } ;;
        smb) modprobe cifs ;;
    esac 2>/dev/null && mount_"$1"
}

# cache=mmap: nothing is cached but what a program has mapped, so host and guest agree.
# access=any: one attach; each right is that of the server, which runs as the owner.
mount_9p() {
    out=$(mount -t 9p -o \
        trans=virtio,version=9p2000.L,msize=262144,cache=mmap,access=any,nosuid,nodev \
        "$tag" "$path" 2>&1)
}

# By the kernel's own options, since mount.cifs is seldom there. The old dialect is the one with
# true modes, owners and links; some kernels are built without it.
mount_smb() {
    out="no network address"
    wait_address || return 1
    mount_cifs vers=1.0 ||
        mount_cifs "vers=3.0,uid=$VB_UID,gid=$VB_GID,forceuid,forcegid,mfsymlinks"
}

mount_cifs() {
    out=$(mount -i -t cifs -o "unc=\\\\10.0.2.2\\$tag,ip=10.0.2.2,port=$VB_SMB_PORT,\
user=$VB_SMB_USER,pass=$VB_SMB_PASSWORD,iocharset=utf8,nosuid,nodev,$1" \
        "//10.0.2.2/$tag" "$path" 2>&1)
}

# ---- the site's prolog ----------------------------------------------------------------------

prolog() {
    [ -e $bin/prolog.sh ] || return 0
    phase prolog
    (
        set -a
        . $bin/guest.conf
        exec $bin/prolog.sh
    ) </dev/null >$run/prolog.log 2>&1 9>&-
    status=$? last='' line=''
    while IFS= read -r line || [ -n "$line" ]; do
        say "note $line"
        last=$line
    done <$run/prolog.log
    [ $status = 0 ] || fail "prolog.sh ended with exit status $status: $last"
}

# ---- ssh server -----------------------------------------------------------------------------

ssh_server() {
    phase sshd
    is_listening && free_port
    [ -c /dev/pts/ptmx ] || { mkdir -p /dev/pts && mount -t devpts -o gid=5,mode=620 devpts /dev/pts; }
    raise_limits
    if sshd=$(command -v sshd); then
        start_openssh "$sshd"
    elif dropbear=$(command -v dropbear); then
        start_dropbear "$dropbear"
    else
        fail "the image has neither sshd nor dropbear"
    fi
    wait_for 10 is_listening || fail "the ssh server does not listen: $(why_not)"
    wait_address || fail "the guest has no network address"
    say "ready port=22 hostkey=$VB_HOSTKEY address=$address"
}

# The job sets its own limits, and an ordinary user can only lower them.
raise_limits() {
    { ulimit -H -n 1048576; ulimit -H -l unlimited; ulimit -H -c unlimited; } 2>/dev/null
    { ulimit -H -u unlimited || ulimit -H -p unlimited; } 2>/dev/null
}

# dropbear leaves the foreground once it listens.
start_dropbear() {
    set -- "$1" -r $bin/dropbear_ed25519_host_key -p 22 -s -w -m -W 262144 -E
    if has_systemd; then
        serve "$@" -F
    else
        "$@" -P $run/sshd.pid </dev/null >$run/sshd.log 2>&1 9>&- || fail "$(why_not)"
    fi
}

start_openssh() {
    mkdir -p /run/sshd
    printf '%s\n' "Port 22" "HostKey $bin/ssh_host_ed25519_key" "PidFile none" \
        "AuthorizedKeysFile $run/login/.ssh/authorized_keys" "AllowUsers $VB_LOGIN" \
        "AuthenticationMethods publickey" "PasswordAuthentication no" \
        "ChallengeResponseAuthentication no" "PermitRootLogin no" "UsePAM no" "UseDNS no" \
        "PrintMotd no" "PrintLastLog no" "X11Forwarding no" "Subsystem sftp internal-sftp" \
        >$run/sshd_config
    # Where SELinux rules, a server of its own domain reads only what is labelled for it.
    [ ! -e /sys/fs/selinux/enforce ] || {
        chcon -R -t ssh_home_t $run/login
        chcon -t sshd_key_t $bin/ssh_host_ed25519_key
        chcon -t etc_t $run/sshd_config
    }
    serve "$1" -D -f $run/sshd_config
}

has_systemd() { [ -S /run/systemd/private ]; }

# Starts a server that stays in the foreground. Under systemd it gets a unit of its own, without
# the bounds of the one that we happen to run in.
serve() {
    if has_systemd; then
        systemd-run --quiet --no-block --unit=vmbatch-sshd -p DefaultDependencies=no \
            -p KillMode=process -p TasksMax=infinity -p OOMPolicy=continue \
            -p LimitNOFILE=1024:1048576 -p LimitMEMLOCK=infinity -p LimitNPROC=infinity \
            -p LimitCORE=0:infinity -- "$@" && return
    fi
    setsid "$@" </dev/null >$run/sshd.log 2>&1 9>&- &
}

why_not() {
    if [ -e $run/sshd_config ]; then
        "$sshd" -t -f $run/sshd_config 2>&1
    else
        cat $run/sshd.log
    fi | tail -n 1
}

# An image's own server may be there first.
free_port() {
    has_systemd && systemctl stop ssh.socket ssh.service sshd.socket sshd.service
    is_listening && fail "something else listens on port 22"
}

# Keeps an image's own server from starting later and failing on the port.
mask_others() {
    has_systemd || return 0
    systemctl mask --quiet --runtime --now --no-block ssh.socket ssh.service sshd.service \
        </dev/null >/dev/null 2>&1 9>&- &
}

is_listening() {
    for table in /proc/net/tcp /proc/net/tcp6; do
        [ -r $table ] || continue
        while read -r _ local _ state _; do
            case $local/$state in *:0016/0A) return 0 ;; esac
        done <$table
    done
    return 1
}

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
        [ $tries -gt 0 ] || return 1
        tries=$((tries - 1))
        sleep 0.05
    done
}

# ---- all of it ------------------------------------------------------------------------------

once() {
    mkdir -p $run || fail "can't make $run"
    set -C
    { printf '' >$run/started; } 2>/dev/null || exit 0
    set +C
}

start_agent() {
    [ -z "$channel" ] || setsid sh $bin/agent.sh </dev/null >/dev/null 2>&1 &
}

[ -r "$here/guest.conf" ] || fail "the disc has no guest.conf"
. "$here/guest.conf"
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
