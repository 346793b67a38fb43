# shellcheck shell=sh
# Part of setup.sh: the owner's groups and accounts, by hand, since a small guest has no useradd.
# What it uses is set there, and functions are called from there or through a variable:
# shellcheck disable=SC2154,SC2317,SC2034

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
