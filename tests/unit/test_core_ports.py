from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vmbatch.errors import NodeError
from vmbatch.network.ports import LOOPBACK, lease_port, leases, return_port

pytestmark = pytest.mark.unit

FIRST, LAST = 43100, 43139


def _lease(directory: Path, holder: str, first: int = FIRST, last: int = LAST) -> int:
    return lease_port(directory, first=first, last=last, holder=holder, intend=lambda _port: None)


def test_leases_never_meet(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        ports = list(pool.map(lambda number: _lease(tmp_path, f"{number}.vm"), range(40)))
    assert sorted(ports) == list(range(FIRST, LAST + 1))
    assert {slug for _, slug in leases(tmp_path)} == {f"{number}.vm" for number in range(40)}


def test_the_undo_is_written_before_the_lease(tmp_path: Path) -> None:
    intended: list[bool] = []

    def intend(port: int) -> None:
        intended.append((tmp_path / str(port)).exists())

    lease_port(tmp_path, first=FIRST, last=LAST, holder="1.vm", intend=intend)
    assert intended == [False]


def test_none_left_names_range_and_cure(tmp_path: Path) -> None:
    _lease(tmp_path, "1.vm", FIRST, FIRST)
    with pytest.raises(NodeError, match=f"{FIRST} to {FIRST}") as caught:
        _lease(tmp_path, "2.vm", FIRST, FIRST)
    assert "last_port" in caught.value.hint


def test_a_port_that_somebody_listens_on_is_passed_over(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, FIRST))
        taken.listen()
        with pytest.raises(NodeError):
            _lease(tmp_path, "1.vm", FIRST, FIRST)


def test_only_its_holder_returns_a_lease(tmp_path: Path) -> None:
    port = _lease(tmp_path, "1.vm")
    return_port(tmp_path, port, "2.vm")
    assert list(leases(tmp_path)) == [(port, "1.vm")]
    return_port(tmp_path, port, "1.vm")
    return_port(tmp_path, port, "1.vm")
    assert list(leases(tmp_path)) == []
