"""Whether ssh, after the command's end, still has output to deliver."""

# `pathlib` is slow to import, and wants str where the kernel has bytes.
# ruff: noqa: PTH123

from __future__ import annotations

import select

_LONG = 4  # looks


class Idle:
    """Watches how much a process has read and written.

    Args:
        pid: of ssh.
    """

    def __init__(self, pid: int) -> None:
        self._path = f"/proc/{pid}/io"  # proc_pid_io(5)
        self._last = b""
        self._looks = 0

    def for_long(self) -> bool:
        """Whether nothing has moved for several looks, and not because our reader is slow."""
        now = self._counters()
        moving = now != self._last or not _writable()
        self._last = now
        self._looks = 0 if moving else self._looks + 1
        return self._looks >= _LONG

    def _counters(self) -> bytes:
        try:
            with open(self._path, "rb") as file:
                return b"".join(line for line in file if line[1:5] == b"char")
        except OSError:
            return b""


def _writable() -> bool:
    poller = select.poll()
    for descriptor in (1, 2):
        poller.register(descriptor, select.POLLOUT)
    return len(poller.poll(0)) == 2
