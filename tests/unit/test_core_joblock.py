from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vmbatch import joblock
from vmbatch.clock import Deadline
from vmbatch.errors import NodeError
from vmbatch.joblock import Role, held, holder, start_time

pytestmark = pytest.mark.unit

_HOLD = """
import sys, time, signal
from pathlib import Path
from vmbatch.clock import Deadline
from vmbatch.errors import CancelledError
from vmbatch.interrupt import cancellable
from vmbatch.joblock import Role, held
if sys.argv[3] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with held(Path(sys.argv[1]), Role(sys.argv[2]), Deadline.after(5)):
        print("held", flush=True)
        time.sleep(60)
try:
    with cancellable(), held(Path(sys.argv[1]), Role(sys.argv[2]), Deadline.after(5)):
        print("held", flush=True)
        time.sleep(float(sys.argv[3]))
except CancelledError:
    print("cancelled", flush=True)
"""


def _holding(lock: Path, role: Role, how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(lock), role, how], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_lock_names_its_holder_and_is_gone_afterwards(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with held(lock, Role.RELEASE, Deadline.after(1)):
        seen = holder(lock)
        assert seen is not None
        assert (seen.role, seen.pid) == (Role.RELEASE, os.getpid())
    assert not lock.exists()
    assert holder(lock) is None


def test_a_prologue_at_work_is_cancelled(tmp_path: Path) -> None:
    process = _holding(tmp_path / "lock", Role.PROVISION, "60")
    start = time.monotonic()
    with held(tmp_path / "lock", Role.RELEASE, Deadline.after(10)):
        assert time.monotonic() - start < 3
    out, _ = process.communicate(timeout=5)
    assert out == "cancelled\n"


def test_a_deaf_prologue_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joblock, "_GRACE", 0.2)
    process = _holding(tmp_path / "lock", Role.PROVISION, "deaf")
    with held(tmp_path / "lock", Role.RELEASE, Deadline.after(10)):
        pass
    assert process.wait(5) == -signal.SIGKILL
    process.communicate()


def test_an_epilogue_is_waited_for_not_cancelled(tmp_path: Path) -> None:
    process = _holding(tmp_path / "lock", Role.RELEASE, "0.5")
    with held(tmp_path / "lock", Role.RELEASE, Deadline.after(10)):
        pass
    out, _ = process.communicate(timeout=5)
    assert out == ""


def test_waiting_ends_at_the_deadline(tmp_path: Path) -> None:
    process = _holding(tmp_path / "lock", Role.RELEASE, "30")
    try:
        with (
            pytest.raises(NodeError, match="held by another process"),
            held(tmp_path / "lock", Role.RELEASE, Deadline.after(0.2)),
        ):
            pass
    finally:
        process.kill()
        process.communicate()


def test_a_killed_holder_leaves_no_stale_lock(tmp_path: Path) -> None:
    process = _holding(tmp_path / "lock", Role.PROVISION, "60")
    process.kill()
    process.communicate()
    assert (tmp_path / "lock").exists()
    assert holder(tmp_path / "lock") is None
    with held(tmp_path / "lock", Role.PROVISION, Deadline.after(1)):
        pass


def test_a_zombie_counts_as_gone() -> None:
    process = subprocess.Popen(["/bin/true"])
    while start_time(process.pid) is not None:
        time.sleep(0.01)
    process.wait()
    assert start_time(process.pid) is None
