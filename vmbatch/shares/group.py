"""Process groups that can be ended later, by another process, without ever hitting a stranger.

A number is not enough: it may belong to somebody else by then. So the leader is known by its
start time too (proc(5), field 22 of ``/proc/PID/stat``), and its children, should they outlive
it, by a variable in their environment.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vmbatch.clock import Deadline
from vmbatch.errors import NodeError

MARK = "VMBATCH_GROUP"
_TICK = 0.01  # seconds between two looks
_TERM_SECONDS = 2.0  # for an orderly end, before SIGKILL
_KILL_SECONDS = 5.0
_DEAD = frozenset("ZX")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Process:
    pid: int
    state: str
    group: int
    start_time: int
    ending: bool  # has given up its memory, and its environment with it; can't be ended any more


def mark_of(pid: int, start_time: int) -> str:
    """Return the value of `MARK` in the environment of a group's processes."""
    return f"{pid}.{start_time}"


def start_time_of(pid: int) -> int:
    """Return when a process started, in clock ticks since boot.

    Raises:
        NodeError: there is no such process.
    """
    process = _read(pid)
    if process is None:
        raise NodeError(f"process {pid} ended as soon as it was started")
    return process.start_time


def stop_process_group(pid: int, start_time: int, deadline: Deadline) -> None:
    """End a process group: SIGTERM, then SIGKILL; nothing happens if it is gone.

    Args:
        pid: the leader's process id, which is the group's id.
        start_time: the leader's start time, from `start_time_of`.
        deadline: until when to wait for the end. SIGKILL is sent even when it has passed.

    Raises:
        NodeError: a process survived SIGKILL until the deadline.
    """
    _signal(pid, start_time, signal.SIGTERM)
    if not _gone(pid, start_time, deadline.within(_TERM_SECONDS)):
        _signal(pid, start_time, signal.SIGKILL)
        last = deadline.within(_KILL_SECONDS) if deadline.left() > 1 else Deadline.after(1)
        if not _gone(pid, start_time, last):
            left = ", ".join(str(process.pid) for process in _members(pid, start_time))
            raise NodeError(
                f"the processes {left} of group {pid} do not end",
                hint="they probably wait for a file system that does not answer",
            )
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _signal(pid: int, start_time: int, number: signal.Signals) -> None:
    if any(not process.ending for process in _members(pid, start_time)):
        with suppress(ProcessLookupError):
            os.killpg(pid, number)


def _gone(pid: int, start_time: int, deadline: Deadline) -> bool:
    while _members(pid, start_time):
        if deadline.passed():
            return False
        time.sleep(_TICK)
    return True


def _members(pid: int, start_time: int) -> list[_Process]:
    """Return the group's live processes; none if the number is somebody else's now."""
    leader = _read(pid)
    if leader is not None and leader.start_time != start_time:
        return []
    alive = [p for p in _processes() if p.group == pid and p.state not in _DEAD]
    if leader is None:
        mark = f"{MARK}={mark_of(pid, start_time)}".encode()
        # While one marked process lives, the kernel gives the group's number to nobody else.
        if not any(mark in _environment(process.pid) for process in alive):
            return [process for process in alive if process.ending]  # to wait for, whose they be
    return alive


def _processes() -> Iterator[_Process]:
    for name in os.listdir("/proc"):  # noqa: PTH208 - names alone, thousands of them
        if name.isdigit() and (process := _read(int(name))):
            yield process


def _read(pid: int) -> _Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The program's name, in brackets, may hold anything, brackets too.
    fields = text[text.rindex(b")") + 2 :].split()
    return _Process(
        pid=pid,
        state=fields[0].decode(),
        group=int(fields[2]),
        start_time=int(fields[19]),
        ending=fields[20] == b"0",  # vsize
    )


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
