"""One holder a job: a prologue that works on it, or an epilogue that ends it."""

from __future__ import annotations

import fcntl
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vmbatch.clock import Deadline
from vmbatch.errors import NodeError

_GRACE = 5.0
"""Seconds that a cancelled prologue has to clean up before it is killed."""


class Role(StrEnum):
    """Why a job is held."""

    PROVISION = "provision"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a job's lock."""

    role: Role
    pid: int
    started: int


def start_time(pid: int) -> int | None:
    """Return when a process started, in ticks after boot; None if it is gone or a zombie.

    See proc(5), /proc/PID/stat, fields 3 and 22.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


@contextmanager
def held(path: Path, role: Role, deadline: Deadline) -> Iterator[None]:
    """Hold a job's lock for the body.

    A prologue that still works on the job is cancelled: a new prologue or an epilogue takes over.
    An epilogue is waited for.

    Raises:
        NodeError: the lock could not be had by the deadline.
    """
    fd = _acquire(path, deadline)
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{role} {os.getpid()} {start_time(os.getpid())}".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(fd)


def holder(path: Path) -> Holder | None:
    """Return who holds the lock now, if anybody living does."""
    try:
        role, pid, started = path.read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    if start_time(int(pid)) != int(started):
        return None
    return Holder(Role(role), int(pid), int(started))


def _acquire(path: Path, deadline: Deadline) -> int:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if _try_lock(fd) and _is_current(fd, path):
            return fd
        os.close(fd)
        if deadline.passed():
            raise NodeError(
                f"the lock {path} is held by another process",
                hint="see which with: fuser " + str(path),
            )
        _wait_for(holder(path), deadline)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_current(fd: int, path: Path) -> bool:
    """Whether the locked file still bears its name: its last holder removed it at the end."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _wait_for(other: Holder | None, deadline: Deadline) -> None:
    if other is None:
        # The lock was taken a moment ago and bears no name yet, or was given up a moment ago.
        select.select([], [], [], min(0.01, deadline.left()))
        return
    try:
        pidfd = os.pidfd_open(other.pid)
    except ProcessLookupError:
        return
    try:
        if start_time(other.pid) != other.started:
            return
        if other.role is Role.PROVISION:
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
            if not _ended(pidfd, deadline.within(_GRACE)):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        _ended(pidfd, deadline)
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)


def _ended(pidfd: int, deadline: Deadline) -> bool:
    return bool(select.select([pidfd], [], [], deadline.left())[0])
