"""The QEMU process of a guest, found and ended without asking libvirt.

libvirt takes more than a second to end a domain, and nothing at all where its daemon is down.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

from vmbatch.clock import Deadline


def kill_guest(name: str, uid: int, deadline: Deadline) -> bool:
    """Kill the QEMU processes of the domain `name`.

    A process counts if it has libvirt's own ``guest=NAME,…`` argument and runs under `uid`: anybody
    can give a process such an argument, and would then lose a process of their own.

    Returns:
        Whether there was one.
    """
    found = False
    for pid in _guest_processes(name, uid):
        found = _kill(pid, deadline) or found
    return found


def _guest_processes(name: str, uid: int) -> Iterator[int]:
    wanted = f"guest={name},".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            if entry.stat().st_uid not in (uid, 0):
                continue
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"-name" in arguments and any(word.startswith(wanted) for word in arguments):
            yield int(entry.name)


def _kill(pid: int, deadline: Deadline) -> bool:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        select.select([pidfd], [], [], deadline.left())
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True
