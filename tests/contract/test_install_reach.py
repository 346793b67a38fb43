"""A checkout below a directory that is closed to users, such as /root, still serves their jobs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from vmbatch.install.daemons import closed_kvm, share_kvm
from vmbatch.install.reach import MEETING_POINT, python_of

pytestmark = pytest.mark.contract

PLAYED = """\
#!/bin/sh
echo "$PWD"
exec setpriv --reuid 65534 --regid 65534 --clear-groups cat "$0" "$@"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout whose interpreter is a script that reads files as an ordinary user."""
    top = tmp_path / "closed" / "checkout"
    python = top / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PLAYED)
    for path in (python, *list(python.parents)[:4]):
        path.chmod(0o755)
    (tmp_path / "closed").chmod(0o700)
    return top


def test_users_read_it_at_the_meeting_point(checkout: Path) -> None:
    seen = MEETING_POINT / ".venv" / "bin" / "python"
    argv = [*python_of(checkout, enter=True), str(seen)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/")
    assert done.stdout == f"{MEETING_POINT}\n{PLAYED}{PLAYED}", done.stderr


def test_they_do_not_read_it_where_it_is(checkout: Path) -> None:
    argv = [*python_of(checkout), str(checkout / ".venv" / "bin" / "python")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode != 0
    assert "Permission denied" in done.stderr


def test_kvm_is_given_to_its_group(tmp_path: Path) -> None:
    device = tmp_path / "kvm"
    assert not closed_kvm(device)
    device.touch()
    device.chmod(0o600)
    assert closed_kvm(device)
    share_kvm(device)
    assert (device.group(), device.stat().st_mode & 0o777) == ("kvm", 0o660)
    assert not closed_kvm(device)


def test_nothing_stays_mounted(checkout: Path) -> None:
    before = Path("/proc/self/mounts").read_text()
    subprocess.run(python_of(checkout), capture_output=True, check=True, cwd="/")
    assert Path("/proc/self/mounts").read_text() == before
