# shellcheck shell=sh
# Part of setup.sh: the owner's directories, in the first way that works.
# What it uses is set there, and functions are called from there or through a variable:
# shellcheck disable=SC2154,SC2317,SC2034

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
