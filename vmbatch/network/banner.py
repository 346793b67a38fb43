"""Whether an ssh server answers behind a forwarded port, and lets the job's key in."""

from __future__ import annotations

import select
import socket
from dataclasses import dataclass
from pathlib import Path

from vmbatch.clock import Deadline
from vmbatch.errors import GuestError, ProgramError
from vmbatch.process import run

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """What it takes to log in to a guest.

    Args:
        host: address to connect to.
        port: port to connect to.
        user: login name in the guest.
        key: private key.
        known_hosts: file with the guest's host key, under `alias`.
        alias: name of the guest in it.
    """

    host: str
    port: int
    user: str
    key: Path
    known_hosts: Path
    alias: str


def wait_for_login(login: Login, deadline: Deadline, *, stop_fd: int) -> None:
    """Wait until the guest lets the key in: its set-up may come after its ssh server's start.

    Args:
        login: who and where.
        deadline: when to give up.
        stop_fd: readable once the guest has ended.

    Raises:
        GuestError: it does not in time, or the guest ended.
    """
    cause = "no attempt was made"
    while not deadline.passed() and not select.select([stop_fd], [], [], 0.2)[0]:
        try:
            run(_ssh(login), deadline=deadline)
        except ProgramError as error:
            cause = error.message
        else:
            return
    raise GuestError(
        f"the guest's ssh server does not let the job's key in: {cause}",
        hint="the image did not carry out its context: see docs/guest-images.md and its console",
    )


def _ssh(login: Login) -> list[str]:
    options = (
        *("BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes", "ConnectTimeout=5"),
        *("GlobalKnownHostsFile=none", f"UserKnownHostsFile={login.known_hosts}"),
        *(f"HostKeyAlias={login.alias}", f"IdentityFile={login.key}", "LogLevel=ERROR"),
    )
    words = [word for option in options for word in ("-o", option)]
    return ["ssh", "-F", "none", "-p", str(login.port), *words, f"{login.user}@{login.host}", ":"]


def _greeting(host: str, port: int, deadline: Deadline) -> str:
    try:
        with socket.create_connection((host, port), timeout=deadline.left() or 0.01) as connection:
            connection.settimeout(deadline.left() or 0.01)
            return connection.recv(256).decode(errors="replace")
    except OSError:
        return ""
