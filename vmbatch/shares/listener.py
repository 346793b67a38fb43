"""Who listens on a port of 127.0.0.1: proc(5), ``/proc/net/tcp``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_LISTEN = "0A"
_LOOPBACK = bytes((127, 0, 0, 1))


def holds_port(pid: int, port: int) -> bool:
    """Whether process `pid` itself listens on 127.0.0.1:`port`.

    A connection would tell that somebody listens, and it may be another user of the node.
    """
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not sockets:
        return False
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            return any(_target(entry.path) in sockets for entry in entries)
    except OSError:
        return False


def is_held(port: int) -> bool:
    """Whether anybody listens on 127.0.0.1:`port`, or on that port of all addresses."""
    return bool(_listening_inodes(port) + _listening_inodes(port, bytes(4)))


def _listening_inodes(port: int, host: bytes = _LOOPBACK) -> list[str]:
    # The address is printed as the host's own 32-bit number, in hexadecimal.
    address = f"{int.from_bytes(host, sys.byteorder):08X}:{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [row[9] for row in rows if row[1] == address and row[3] == _LISTEN]


def _target(link: str) -> str:
    try:
        return os.readlink(link)  # noqa: PTH115 - not a path
    except OSError:
        return ""
