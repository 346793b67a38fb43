"""The host's end of a guest's channel: wait for what it says, or for its end."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, Self

from vmbatch.clock import Deadline
from vmbatch.errors import GuestError, HypervisorError
from vmbatch.hypervisor.messages import (
    CHANNEL,
    MAX_LINE,
    EpilogEnded,
    Fail,
    Message,
    Note,
    Phase,
    Ready,
    parse_line,
)

MAX_MESSAGES = 2000
"""What a guest may send while it is waited for."""


_TURN = 1.0
"""Seconds of one wait: a signal that comes just before a wait is only heard after it."""


class Stop(Protocol):
    """What tells that the domain stopped; see `vmbatch.hypervisor.events.StopWatch`."""

    fd: int
    reason: str


class GuestChannel:
    """A connection to the guest's virtio-serial port.

    Args:
        path: the unix socket that QEMU listens on.

    Raises:
        HypervisorError: nobody listens there.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._pending = b""
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise HypervisorError(
                f"can't reach the guest's channel {path}: {error.strerror}",
                hint="the guest has probably ended: vmbatch guest log JOB",
            ) from error

    def __enter__(self) -> Self:
        """Return the channel itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._socket.close()

    def wait_ready(
        self, deadline: Deadline, stop: Stop, *, heard: Callable[[Message], None]
    ) -> Ready:
        """Wait until the owner can log in.

        Args:
            deadline: when to give up.
            stop: tells that the domain stopped.
            heard: called with each message.

        Raises:
            GuestError: the guest said that a step failed, stopped, or is not ready in time.
        """
        phase = "boot"
        start = deadline.left()
        for message in self._messages(deadline, stop):
            heard(message)
            match message:
                case Ready():
                    return message
                case Phase():
                    phase = message.name
                case Fail():
                    raise _at(
                        message.step,
                        GuestError(
                            f"the guest's set-up failed: {message.step}: {message.text}",
                            hint="the image lacks what this step needs; see the guest's console",
                        ),
                    )
        raise _at(phase, _not_ready(stop, deadline, start, phase))

    def run_epilog(self, deadline: Deadline) -> tuple[int | None, tuple[str, ...]]:
        """Have the guest run its epilog.sh.

        Returns:
            Its exit status, or None where it did not end in time, and what it printed.
        """
        output: list[str] = []
        try:
            self._socket.sendall(b"epilog\n")
        except OSError:
            return None, ()
        for message in self._messages(deadline, None):
            match message:
                case Note():
                    output.append(message.text)
                case EpilogEnded():
                    return message.status, tuple(output)
        return None, tuple(output)

    def _messages(self, deadline: Deadline, stop: Stop | None) -> Iterator[Message]:
        """Yield messages until the deadline, the end of the domain, or the end of the channel.

        Raises:
            GuestError: the guest talks without end: it could fill the log.
        """
        for count, message in enumerate(self._all_messages(deadline, stop)):
            if count == MAX_MESSAGES:
                raise GuestError(
                    f"the guest sent more than {MAX_MESSAGES} messages over its channel",
                    hint=f"something in the image floods the port {CHANNEL}",
                )
            yield message

    def _all_messages(self, deadline: Deadline, stop: Stop | None) -> Iterator[Message]:
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        if stop:
            poller.register(stop.fd, select.POLLIN)
        while not deadline.passed():
            ready = [fd for fd, _ in poller.poll(min(deadline.left(), _TURN) * 1000)]
            if self._socket.fileno() in ready:
                data = self._socket.recv(4096)
                if not data:
                    return
                yield from self._lines(data)
            elif ready:
                return

    def _lines(self, data: bytes) -> Iterator[Message]:
        *lines, self._pending = (self._pending + data).split(b"\n")
        self._pending = self._pending[-MAX_LINE:]
        for line in lines:
            if message := parse_line(line):
                yield message


def _not_ready(stop: Stop, deadline: Deadline, waited: float, phase: str) -> GuestError:
    if stop.reason == "paused":
        return GuestError(
            "the guest was stopped by the hypervisor with an internal error",
            hint="the accelerator can't run this kernel: set accelerator: tcg in the profile; "
            "vmbatch doctor tells what this node can do",
        )
    if not deadline.passed():
        return GuestError(
            f"the guest ended while it booted ({stop.reason or 'its channel was closed'})",
            hint="its kernel panicked or it powered off; its console tells why",
        )
    return GuestError(
        f"the guest was not ready within {waited:.0f} s; it was at: {phase}",
        hint="the image does not boot, or it needs a longer prologue limit; see its console",
    )


def _at(phase: str, error: GuestError) -> GuestError:
    error.phase = phase
    return error
