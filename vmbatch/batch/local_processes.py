"""Starting processes as a mom does, and waiting for them without a clock that ticks."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from pathlib import Path
from types import TracebackType

from vmbatch.clock import Deadline
from vmbatch.job import Owner


class Why(Enum):
    """Why a wait came to its end."""

    ENDED = auto()
    LATE = auto()
    ASKED = auto()


class Child:
    """A process that leads a session of its own.

    Args:
        process: as `subprocess` made it, or None where it could not be executed.
        failed: the exit status that stands for the latter.
    """

    def __init__(self, process: subprocess.Popen[bytes] | None, *, failed: int = 255) -> None:
        self.process = process
        self._failed = failed
        self.session = process.pid if process else 0
        self._pidfd = os.pidfd_open(process.pid) if process else -1

    def reap(self) -> int:
        """Return its exit status, or minus the signal."""
        return self.process.wait() if self.process else self._failed

    @property
    def pidfd(self) -> int:
        """Readable when the process has ended."""
        return self._pidfd

    def close(self) -> None:
        """Give the descriptor back."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


def start_script(
    path: Path,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    owner: Owner | None,
    umask: int,
    output: int,
    error: int,
    directory: str,
    leaked: Sequence[int] = (),
) -> Child:
    """Start one of a mom's scripts: own session, no terminal, SIGPIPE ignored.

    Args:
        path: the script, or a link to it; it is its argument 0.
        arguments: the others.
        environment: all of it.
        owner: as whom it runs, None for root.
        umask: file mode creation mask.
        output: descriptor for its standard output.
        error: descriptor for its standard error.
        directory: where it runs.
        leaked: descriptors of the mom's own that it finds open.
    """
    try:
        process = subprocess.Popen(
            [str(path), *arguments],
            env=dict(environment),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=error,
            start_new_session=True,
            restore_signals=False,
            umask=umask,
            user=owner.uid if owner else 0,
            group=owner.gid if owner else 0,
            extra_groups=owner.gids if owner else (0,),
            pass_fds=tuple(leaked),
        )
    except OSError:
        return Child(None)  # no #! line, no such interpreter, no such directory
    return Child(process)


class Events:
    """Waits for the end of a process, a deadline, or somebody who asks us to stop."""

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.asked = 0
        self.times = 0
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before: dict[int, object] = {}

    def __enter__(self) -> Events:
        """Take the signals over."""
        for number in self._SIGNALS:
            self._before[number] = signal.signal(number, self._ask)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give them back."""
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        os.close(self._read)
        os.close(self._write)

    def _ask(self, number: int, _frame: object) -> None:
        self.asked = self.asked or number
        self.times += 1

    def wait(self, child: Child, deadline: Deadline | None, *, after: float = 0) -> Why:
        """Wait for a process.

        Args:
            child: the process.
            deadline: when to give up.
            after: how many times somebody may have asked us to stop without ending the wait.
        """
        if child.process is None:
            return Why.ENDED
        while True:
            left = deadline.left() if deadline else None
            ready, _, _ = select.select([child.pidfd, self._read], [], [], left)
            if child.pidfd in ready:
                return Why.ENDED
            if self._read in ready:
                os.read(self._read, 512)
            if self.times > after:
                return Why.ASKED
            if deadline and deadline.passed():
                return Why.LATE


def kill_session(session: int, number: int) -> None:
    """Send a signal to all processes of a session; those that left it are not reached."""
    for pid in session_members(session):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def session_members(session: int) -> list[int]:
    """Return the processes of a session that live; see proc(5), fields 3 and 6 of stat."""
    members = []
    for path in Path("/proc").iterdir() if session > 0 else ():
        if path.name.isdecimal():
            try:
                fields = (path / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[3] == str(session) and fields[0] != "Z":
                members.append(int(path.name))
    return members
