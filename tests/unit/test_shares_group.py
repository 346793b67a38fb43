from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from vmbatch.clock import Deadline
from vmbatch.errors import NodeError
from vmbatch.shares.group import MARK, mark_of, start_time_of, stop_process_group
from vmbatch.shares.listener import holds_port, is_held

pytestmark = pytest.mark.unit

# A leader that tells when its child runs, and a child that outlives it.
FAMILY = "sleep 60 & echo $!; exec sleep 60"


class Group:
    def __init__(self, script: str, *, mark: bool = False) -> None:
        gate = f"read -r x; [ -z $x ] || export {MARK}=$x; {script}"
        self.leader = subprocess.Popen(
            ["/bin/sh", "-c", gate],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.pid = self.leader.pid
        self.start_time = start_time_of(self.pid)
        if self.leader.stdin is None or self.leader.stdout is None:
            raise AssertionError
        self.leader.stdin.write((mark_of(self.pid, self.start_time) if mark else "").encode())
        self.leader.stdin.close()
        self.child = int(self.leader.stdout.readline())

    def stop(self, start_time: int | None = None) -> None:
        number = self.start_time if start_time is None else start_time
        stop_process_group(self.pid, number, Deadline.after(5))


@pytest.fixture
def groups() -> Iterator[list[Group]]:
    made: list[Group] = []
    yield made
    for group in made:
        with suppress(ProcessLookupError):
            os.killpg(group.pid, signal.SIGKILL)
        group.leader.wait()
        if group.leader.stdout is not None:
            group.leader.stdout.close()


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_leader_and_children_end(groups: list[Group]) -> None:
    groups.append(Group(FAMILY))
    groups[0].stop()
    assert not alive(groups[0].pid)
    assert not alive(groups[0].child)
    groups[0].stop()


def test_one_that_ignores_sigterm_is_killed(
    groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmbatch.shares.group._TERM_SECONDS", 0.1)
    groups.append(Group(f"trap '' TERM; {FAMILY}"))
    groups[0].stop()
    assert not alive(groups[0].pid)
    assert not alive(groups[0].child)


def test_a_passed_deadline_still_kills(groups: list[Group]) -> None:
    groups.append(Group(f"trap '' TERM; {FAMILY}"))
    stop_process_group(groups[0].pid, groups[0].start_time, Deadline.after(0))
    assert not alive(groups[0].child)


def test_a_stranger_with_the_same_number_lives(groups: list[Group]) -> None:
    groups.append(Group(FAMILY))
    groups[0].stop(start_time=groups[0].start_time - 1)
    assert alive(groups[0].pid)
    assert alive(groups[0].child)


def test_children_of_a_leader_that_is_gone_end(groups: list[Group]) -> None:
    groups.append(Group(FAMILY, mark=True))
    groups[0].leader.kill()
    groups[0].leader.wait()
    assert alive(groups[0].child)
    groups[0].stop()
    assert not alive(groups[0].child)


def test_children_without_the_mark_are_strangers(groups: list[Group]) -> None:
    groups.append(Group(FAMILY))
    groups[0].leader.kill()
    groups[0].leader.wait()
    groups[0].stop()
    assert alive(groups[0].child)


def test_a_zombie_counts_as_dead(groups: list[Group]) -> None:
    groups.append(Group(FAMILY))
    os.killpg(groups[0].pid, signal.SIGKILL)
    while alive(groups[0].pid):
        time.sleep(0.005)
    start = time.monotonic()
    groups[0].stop()
    assert time.monotonic() - start < 1


def test_no_process_no_start_time() -> None:
    with pytest.raises(NodeError):
        start_time_of(2**22 + 1)


def test_who_holds_a_port(groups: list[Group]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        assert not holds_port(os.getpid(), port)
        listener.listen()
        assert holds_port(os.getpid(), port)
        groups.append(Group(FAMILY))  # knows the port open, and does not hold it
        assert not holds_port(groups[0].pid, port)
        with socket.create_connection(("127.0.0.1", port)), listener.accept()[0]:
            listener.close()
            assert not holds_port(os.getpid(), port)
            assert not is_held(port)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104
def test_a_port_is_held_on_loopback_or_on_all_addresses(host: str) -> None:
    with socket.socket() as listener:
        listener.bind((host, 0))
        port = listener.getsockname()[1]
        assert not is_held(port)
        listener.listen()
        assert is_held(port)
    assert not is_held(port)
