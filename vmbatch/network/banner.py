"""Whether an ssh server answers behind a forwarded port."""

from __future__ import annotations

import select
import socket

from vmbatch.clock import Deadline
from vmbatch.errors import GuestError

_PATIENCE = 0.4
"""Seconds to wait for one banner: the forwarder accepts before the guest does, and then says
nothing, so that only a new connection tells more."""


def wait_for_banner(host: str, port: int, deadline: Deadline, *, stop_fd: int | None = None) -> str:
    """Wait until an ssh server greets, and return its greeting.

    Args:
        host: address to connect to.
        port: port to connect to.
        deadline: when to give up.
        stop_fd: readable once the guest has ended.

    Raises:
        GuestError: none greets in time, or the guest ended.
    """
    while not deadline.passed():
        greeting = _greeting(host, port, deadline.within(_PATIENCE))
        if greeting.startswith("SSH-"):
            return greeting
        if stop_fd is not None and select.select([stop_fd], [], [], 0.02)[0]:
            raise GuestError(
                "the guest ended before its ssh server answered",
                hint="its kernel panicked or it powered off; its console tells why",
            )
    raise GuestError(
        f"no ssh server answered in the guest (forwarded from {host}:{port})",
        hint="the image needs an ssh server that starts at boot; see the guest's console",
    )


def _greeting(host: str, port: int, deadline: Deadline) -> str:
    try:
        with socket.create_connection((host, port), timeout=deadline.left() or 0.01) as connection:
            connection.settimeout(deadline.left() or 0.01)
            return connection.recv(256).decode(errors="replace")
    except OSError:
        return ""
