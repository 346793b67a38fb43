#!/bin/sh
# Sets vmbatch up: a demonstration, the tests, or an installation. See: ./setup.sh --help
# This only finds a Python; the work is done by vmbatch/install, with the standard library alone.
set -eu

here=$(dirname -- "$(readlink -f -- "$0")")
python=/usr/bin/python3
umask 022

if [ ! -x "$python" ]; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "setup.sh: there is no $python" >&2
        echo "setup.sh: hint: install it, on Debian as root with: apt-get install python3-venv" >&2
        exit 1
    fi
    apt-get -o DPkg::Lock::Timeout=300 update -qq </dev/null >&2
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -qq -y \
        --no-install-recommends python3-venv </dev/null >&2
fi

exec "$python" -I "$here/vmbatch/install/__main__.py" "$@"
