"""The event loop beside ssh: input, signals, and how it ends."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time

from vmbatch.errors import GuestError
from vmbatch.shell import child, openssh
from vmbatch.shell.control import Control
from vmbatch.shell.guestfile import Guest
from vmbatch.shell.header import Header
from vmbatch.shell.idle import Idle
from vmbatch.shell.relay import Relay

TYPE_CHECKING = False  # as mypy knows it; `typing` costs 11 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

_TICK = 0.25  # seconds between looks at an ssh that has nothing left to wait for
_ANSWER = 10.0  # seconds that the guest has to tell a status
_HARMLESS = (signal.SIGCONT, signal.SIGTSTP)  # do not end a process that has not started yet


class Ending:
    """How the command ended.

    Args:
        status: its exit status.
        signal: the signal that we passed on and that it died of, or 0.
    """

    __slots__ = ("signal", "status")

    def __init__(self, *, status: int = 0, signal: int = 0) -> None:
        self.status = status
        self.signal = signal


class Session:
    """One command in a guest.

    Args:
        guest: where.
        header: what goes ahead of its input.
        kind: "job" or "task", for `enter`.
        terminal: whether standard input is a terminal that the command shall have.
        environment: for ssh.
        signals: which are passed on.
    """

    def __init__(
        self,
        guest: Guest,
        header: Header,
        *,
        kind: str,
        terminal: bool,
        environment: dict[bytes, bytes],
        signals: list[signal.Signals],
    ) -> None:
        self._guest = guest
        self._header = header
        self._kind = kind
        self._terminal = terminal
        self._environment = environment
        self._token = os.urandom(8).hex()
        self._received: list[int] = []
        self._helpers: set[int] = set()
        self._ssh = 0
        self._result: int | None = None  # of ssh, as os.waitstatus_to_exitcode gives it
        self._prepared = not terminal
        self._deaf = False
        self._wake = _wake_on(signals)
        self._control = Control(guest.sockets)
        if terminal:
            self._relay = Relay(header.code, -1)
        else:
            self._relay = Relay(header.code + header.script, 0)

    @property
    def ended_well(self) -> bool:
        """Whether ssh ended by itself."""
        return self._result is not None and self._result >= 0

    def run(self) -> Ending:
        """Run the command.

        Raises:
            GuestError: the guest could not be reached, or was lost.
        """
        try:
            self._start()
            idle = Idle(self._ssh)
            while self._result is None and not self._doomed():
                told = self._control.status_told
                self._turn(_TICK if told else None)
                if told and self._result is None and idle.for_long():
                    # Something that left the session holds its output open: not our concern.
                    return self._ended(self._ask_status())
            return self._ending()
        finally:
            self._stop()
            self._control.tidy()

    def _start(self) -> None:
        code, script = len(self._header.code), len(self._header.script)
        if self._terminal:
            log = os.open(self._control.log_path, os.O_WRONLY)
            self._ssh = self._connect(f"run-put {self._token} {self._kind}", None, {2: log})
            os.close(log)
            return
        command = f"run {self._token} {code} {script} {self._kind}"
        self._ssh = self._connect(command, self._control.log_path, {0: self._relay.reader})
        os.close(self._relay.reader)

    def _connect(self, words: str, log: str | None, descriptors: dict[int, int]) -> int:
        argv = openssh.connect(
            self._guest, control=self._control.socket_path, command=self._command(words), log=log
        )
        return child.start(argv, self._environment, descriptors)

    def _command(self, words: str) -> str:
        return f"exec {self._guest.enter} {words}"  # no shell stays between sshd and enter

    def _join(self, words: str, descriptors: dict[int, int]) -> int:
        argv = openssh.join(self._guest, control=self._control.path, command=self._command(words))
        return child.start(argv, self._environment, descriptors)

    def _turn(self, seconds: float | None) -> None:
        """Wait for something, and act on it."""
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        poller.register(self._control.log, select.POLLIN)
        if self._kind == "task" and not self._deaf:
            poller.register(1, 0)
        if self._prepared:
            for descriptor, events in self._relay.interest():
                poller.register(descriptor, events)
        for descriptor, events in poller.poll(None if seconds is None else seconds * 1000):
            if descriptor == self._control.log:
                self._control.read_log()
                self._prepare()
            elif descriptor == self._wake:
                for number in os.read(self._wake, 512):
                    self._on_signal(number)
            elif descriptor == 1:
                self._on_broken_output()
            else:
                self._relay.move(descriptor, events)

    def _prepare(self) -> None:
        """Send the header of a terminal's session, which can't go through the terminal."""
        if self._prepared or not self._control.path:
            return
        size = len(self._header.code)
        with _null() as null:
            self._helpers.add(
                self._join(f"put {self._token} {size}", {0: self._relay.reader, 1: null, 2: null})
            )
        os.close(self._relay.reader)
        self._prepared = True

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
            return
        self._received.append(number)
        if self._reachable():
            self._pass_on(signal.Signals(number).name)

    def _on_broken_output(self) -> None:
        """Tell the command that its reader is gone: not every ssh server does."""
        self._deaf = True
        if self._reachable():
            self._pass_on("SIGPIPE")

    def _pass_on(self, name: str) -> None:
        words = f"signal {self._token} {name.removeprefix('SIG')}"
        with _null() as null:
            self._helpers.add(self._join(words, {0: null, 1: null, 2: null}))

    def _reachable(self) -> bool:
        return bool(self._control.path) and self._prepared

    def _doomed(self) -> bool:
        """Whether a signal came before there was anything to pass it on to."""
        return not self._reachable() and any(n not in _HARMLESS for n in self._received)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._ssh:
                    self._result = os.waitstatus_to_exitcode(status)
                    self._control.read_log()
                self._helpers.discard(pid)

    def _ending(self) -> Ending:
        if self._result is None:
            return Ending(signal=next(n for n in self._received if n not in _HARMLESS))
        if 0 <= self._result < openssh.LOST or self._control.status_told:
            return self._ended(self._result)
        return self._ended(self._ask_status())

    def _ended(self, status: int | None) -> Ending:
        deadly = [number for number in self._received if number not in _HARMLESS]
        if status is None and deadly:
            return Ending(signal=deadly[-1])
        if status is None:
            raise self._failure()
        number = status - 128
        return Ending(status=status, signal=number if number in self._received else 0)

    def _failure(self) -> GuestError:
        job, complaint = self._guest.job, self._control.complaint
        if not self._control.path:
            return GuestError(
                f"job {job}: can't enter the guest by ssh: {complaint}",
                hint="its ssh server refuses or does not answer; try the image by hand: "
                "vmbatch local run -I",
            )
        return GuestError(
            f"job {job}: the guest was lost: {complaint}",
            hint="it ended or does not answer; the end of its console may tell why"
            f" (too little memory?): vmbatch guest log {job}",
        )

    def _ask_status(self) -> int | None:
        """Ask the guest how the command ended; None where it does not know or is not there."""
        if not self._control.path:
            return None  # we never were in it
        command = self._command(f"status {self._token}")
        argv = openssh.connect(self._guest, control="none", command=command, log="/dev/null")
        if self._result is None:
            argv = openssh.join(self._guest, control=self._control.path, command=command)
        reader, writer = os.pipe()
        with _null() as null:
            asking = child.start(argv, self._environment, {0: null, 1: writer, 2: null})
        os.close(writer)
        self._helpers.add(asking)
        answer = _read_all(reader, time.monotonic() + _ANSWER).strip()
        return int(answer) if answer.isdigit() else None

    def _stop(self) -> None:
        """End ssh where it has not ended; let the last signals reach the guest."""
        if self._result is None and self._ssh:
            self._helpers.add(self._ssh)
            for pid in self._helpers:
                os.kill(pid, signal.SIGKILL)
        while self._helpers:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._helpers.pop(), 0)


def _wake_on(signals: list[signal.Signals]) -> int:
    """Return a descriptor that gives the number of each signal that comes."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for name in (*signals, signal.SIGCHLD):
        if signal.getsignal(name) != signal.SIG_IGN:  # as nohup(1) has it
            signal.signal(name, lambda number, frame: None)
    return reader


@contextlib.contextmanager
def _null() -> Iterator[int]:
    descriptor = os.open("/dev/null", os.O_RDWR)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read_all(descriptor: int, until: float) -> bytes:
    """Read to the end, or to a point of the monotonic clock."""
    found = b""
    while (left := until - time.monotonic()) > 0:
        if not select.select([descriptor], [], [], left)[0]:
            break
        data = os.read(descriptor, 4096)
        if not data:
            break
        found += data
    os.close(descriptor)
    return found
