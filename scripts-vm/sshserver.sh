# shellcheck shell=sh
# Part of setup.sh: an ssh server of our own, which knows one account and one key.
# What it uses is set there, and functions are called from there or through a variable:
# shellcheck disable=SC2154,SC2317,SC2034,SC2015,SC3045

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
    set -- "$1" -r "$bin/dropbear_ed25519_host_key" -p 22 -s -w -m -W 262144 -E
    if has_systemd; then
        serve "$@" -F
    else
        "$@" -P "$run/sshd.pid" </dev/null >"$run/sshd.log" 2>&1 9>&- || fail "$(why_not)"
    fi
}

start_openssh() {
    mkdir -p /run/sshd
    printf '%s\n' "Port 22" "HostKey $bin/ssh_host_ed25519_key" "PidFile none" \
        "AuthorizedKeysFile $run/login/.ssh/authorized_keys" "AllowUsers $VB_LOGIN" \
        "AuthenticationMethods publickey" "PasswordAuthentication no" \
        "ChallengeResponseAuthentication no" "PermitRootLogin no" "UsePAM no" "UseDNS no" \
        "PrintMotd no" "PrintLastLog no" "X11Forwarding no" "Subsystem sftp internal-sftp" \
        >"$run/sshd_config"
    # Where SELinux rules, a server of its own domain reads only what is labelled for it.
    [ ! -e /sys/fs/selinux/enforce ] || {
        chcon -R -t ssh_home_t "$run/login"
        chcon -t sshd_key_t "$bin/ssh_host_ed25519_key"
        chcon -t etc_t "$run/sshd_config"
    }
    serve "$1" -D -f "$run/sshd_config"
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
    setsid "$@" </dev/null >"$run/sshd.log" 2>&1 9>&- &
}

why_not() {
    if [ -e "$run/sshd_config" ]; then
        "$sshd" -t -f "$run/sshd_config" 2>&1
    else
        cat "$run/sshd.log"
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
