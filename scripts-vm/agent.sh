#!/bin/sh
# Does what the host asks for over the channel, which setup.sh has left open as descriptor 9.
# shellcheck disable=SC1091 # a file of assignments that is not here yet
set -u
run=/run/vmbatch
bin=${0%/*}

say() { printf '%.900s\n' "$*" >&9; }

# Runs the site's epilog.sh, then tells what it printed, at most 200 lines, and how it ended.
epilog() {
    status=0
    if [ -e "$bin/epilog.sh" ]; then
        (
            set -a
            . "$bin/guest.conf"
            exec "$bin/epilog.sh"
        ) </dev/null >$run/epilog.log 2>&1 9>&-
        status=$?
        tail -n 200 $run/epilog.log | while IFS= read -r line || [ -n "$line" ]; do
            say "note $line"
        done
    fi
    say "epilog $status"
}

stop() {
    sync
    if [ -S /run/systemd/private ]; then
        systemctl poweroff --no-block 9>&-
    else
        poweroff
        sleep 5
        poweroff -f
    fi
}

while :; do
    while IFS= read -r line <&9; do
        case $line in
            epilog) epilog ;;
            poweroff) stop ;;
        esac
    done
    # Without a host at the other end a read ends at once, while a write waits for one.
    printf '\n' >&9
done
