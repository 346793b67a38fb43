"""Who listens on a port of 127.0.0.1: proc(5), ``/proc/net/tcp``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_LISTEN = "0A"


def holds_port(pid: int, port: int) -> bool:
    """Whether process `pid` itself listens on 127.0.0.1:`port`.

    A connection would tell that somebody listens, and it may be another user of the node.
    """
    socket = _listening_inode(port)
    if socket is None:
        return False
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            return any(_leads_to(entry.path, f"socket:[{socket}]") for entry in entries)
    except OSError:
        return False


def _listening_inode(port: int) -> str | None:
    # The address is printed as the host's own 32-bit number, in hexadecimal.
    address = f"{int.from_bytes(bytes((127, 0, 0, 1)), sys.byteorder):08X}:{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == address and fields[3] == _LISTEN:
            return fields[9]
    return None


def _leads_to(link: str, target: str) -> bool:
    try:
        return os.readlink(link) == target  # noqa: PTH115 - not a path
    except OSError:
        return False
