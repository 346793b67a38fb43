from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmbatch.clock import Deadline
from vmbatch.errors import GuestError, HypervisorError
from vmbatch.hypervisor.channel import GuestChannel
from vmbatch.hypervisor.messages import EpilogEnded, Fail, Note, Phase, Ready, parse_line

pytestmark = pytest.mark.unit


@dataclass
class Stopper:
    fd: int
    signal: int
    reason: str = ""

    def stop(self, reason: str) -> None:
        self.reason = reason
        os.write(self.signal, b".")


@pytest.fixture
def stopper() -> Iterator[Stopper]:
    fd, signal = os.pipe()
    yield Stopper(fd, signal)
    os.close(fd)
    os.close(signal)


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "agent.sock"))
        server.listen()
        yield server


def _says(server: socket.socket, data: bytes, *, hang_up: bool = False) -> None:
    def talk() -> None:
        with contextlib.suppress(OSError):
            connection, _ = server.accept()
            with connection:
                connection.sendall(data)
                if not hang_up:
                    threading.Event().wait(3)

    server.settimeout(2)
    threading.Thread(target=talk, daemon=True).start()


def _wait(path: Path, stopper: Stopper, seconds: float = 2.0) -> tuple[Ready, list[object]]:
    heard: list[object] = []
    with GuestChannel(path / "agent.sock") as channel:
        ready = channel.wait_ready(Deadline.after(seconds), stopper, heard=heard.append)
    return ready, heard


def test_ready_is_the_event(tmp_path: Path, guest: socket.socket, stopper: Stopper) -> None:
    _says(guest, b"phase user\nnote hello\nready port=22 hostkey=SHA256:x address=10.0.2.15\n")
    ready, heard = _wait(tmp_path, stopper)
    assert ready == Ready(22, "SHA256:x", "10.0.2.15")
    assert heard == [Phase("user"), Note("hello"), ready]


def test_a_failed_step_is_told_at_once(
    tmp_path: Path, guest: socket.socket, stopper: Stopper
) -> None:
    _says(guest, b"phase shares\nfail shares mount: no such device\n")
    with pytest.raises(GuestError, match="shares: mount: no such device") as caught:
        _wait(tmp_path, stopper, 30)
    assert caught.value.phase == "shares"


def test_a_paused_guest_blames_the_accelerator(
    tmp_path: Path, guest: socket.socket, stopper: Stopper
) -> None:
    _says(guest, b"")
    stopper.stop("paused")
    with pytest.raises(GuestError, match="internal error") as caught:
        _wait(tmp_path, stopper, 30)
    assert "tcg" in caught.value.hint


def test_the_end_of_the_guest_is_not_waited_out(
    tmp_path: Path, guest: socket.socket, stopper: Stopper
) -> None:
    _says(guest, b"phase boot\n", hang_up=True)
    with pytest.raises(GuestError, match="ended while it booted"):
        _wait(tmp_path, stopper, 30)


def test_the_deadline_names_the_last_phase(
    tmp_path: Path, guest: socket.socket, stopper: Stopper
) -> None:
    _says(guest, b"phase shares\n")
    with pytest.raises(GuestError, match="not ready within 1 s; it was at: shares"):
        _wait(tmp_path, stopper, 0.6)


def test_a_guest_that_talks_without_end_is_given_up(
    tmp_path: Path, guest: socket.socket, stopper: Stopper
) -> None:
    _says(guest, b"note again\n" * 10_000)
    with pytest.raises(GuestError, match="more than 2000 messages"):
        _wait(tmp_path, stopper, 30)


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(HypervisorError, match="No such file"):
        GuestChannel(tmp_path / "agent.sock")


def test_the_epilog_answers(tmp_path: Path, guest: socket.socket) -> None:
    _says(guest, b"note one\nnote two\nepilog 3\n")
    with GuestChannel(tmp_path / "agent.sock") as channel:
        assert channel.run_epilog(Deadline.after(2)) == (3, ("one", "two"))


def test_a_silent_epilog_is_given_up(tmp_path: Path, guest: socket.socket) -> None:
    _says(guest, b"note one\n")
    with GuestChannel(tmp_path / "agent.sock") as channel:
        assert channel.run_epilog(Deadline.after(0.3)) == (None, ("one",))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"phase user", Phase("user")),
        (b"fail prolog exit 3: no", Fail("prolog", "exit 3: no")),
        (b"ready", Ready(22, "", "")),
        (b"ready port=99999999", Ready(22, "", "")),
        (b"epilog 0", EpilogEnded(0)),
        (b"epilog -1", None),
        (b"epilog 99999", None),
        (b"note \x1b[31mred", Note("[31mred")),
        (b"", None),
        (b"halt and catch fire", None),
    ],
)
def test_lines(line: bytes, message: object) -> None:
    assert parse_line(line) == message


@given(st.binary(max_size=3000))
def test_no_line_breaks_the_parser(line: bytes) -> None:
    parse_line(line)
    parse_line(b"ready " + line)
    parse_line(b"epilog " + line)
