"""Overlays: owner, mode, base, and what a full disk looks like."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from vmbatch.clock import Deadline
from vmbatch.errors import NodeError, ProgramError
from vmbatch.images.diskspace import mount_point, named_if_full
from vmbatch.images.overlay import create_overlay

pytestmark = pytest.mark.unit


def make(overlay: Path, base: Path, base_format: str, size: int | None = None) -> None:
    create_overlay(
        overlay,
        base=base,
        base_format=base_format,
        uid=os.getuid(),
        gid=os.getgid(),
        deadline=Deadline.after(20),
        size=size,
    )


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1M"], check=True)
    return path


def info(path: Path) -> dict[str, object]:
    argv = ["qemu-img", "info", "-f", "qcow2", "--output=json", path]
    told: dict[str, object] = json.loads(
        subprocess.run(argv, check=True, capture_output=True).stdout
    )
    return told


@pytest.mark.parametrize("size", [None, 1 << 30])
def test_overlay_names_base_and_format(tmp_path: Path, base: Path, size: int | None) -> None:
    overlay = tmp_path / "disk-vda.qcow2"
    make(overlay, base, "qcow2", size)
    told = info(overlay)
    assert told["backing-filename"] == str(base)
    assert told["backing-filename-format"] == "qcow2"
    assert told["virtual-size"] == (size or 1 << 20)
    assert stat.S_IMODE(overlay.stat().st_mode) == 0o600
    assert (overlay.stat().st_uid, overlay.stat().st_gid) == (os.getuid(), os.getgid())


def test_raw_base_is_not_probed(tmp_path: Path) -> None:
    """A guest that writes a qcow2 header into its raw disk must gain nothing."""
    outer = tmp_path / "raw"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", outer, "5G"], check=True)
    make(tmp_path / "o", outer, "raw")
    assert info(tmp_path / "o")["backing-filename-format"] == "raw"
    assert info(tmp_path / "o")["virtual-size"] == -(-outer.stat().st_size // 512) * 512


def test_existing_file_or_link_is_never_written(tmp_path: Path, base: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (tmp_path / "link").symlink_to(victim)
    for name in ("victim", "link"):
        with pytest.raises(NodeError, match="exists already"):
            make(tmp_path / name, base, "qcow2")
    assert victim.read_text() == "kept"


def test_failure_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"can't make the overlay .*/o on .*/gone"):
        make(tmp_path / "o", tmp_path / "gone", "qcow2")
    assert not (tmp_path / "o").exists()


def test_missing_directory_is_named(tmp_path: Path, base: Path) -> None:
    with pytest.raises(NodeError, match=r"can't make the disk .*gone/o: No such file"):
        make(tmp_path / "gone" / "o", base, "qcow2")


def test_spent_deadline_leaves_no_file(tmp_path: Path, base: Path) -> None:
    with pytest.raises(ProgramError, match="did not end within 0 s"):
        create_overlay(
            tmp_path / "o",
            base=base,
            base_format="qcow2",
            uid=os.getuid(),
            gid=os.getgid(),
            deadline=Deadline.after(0),
        )
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOSPC, "x"),
        OSError(errno.EDQUOT, "x"),
        ProgramError("qemu-img failed with exit status 1: x: No space left on device"),
    ],
)
def test_full_disk_is_told_with_its_file_system(tmp_path: Path, failure: Exception) -> None:
    with (
        pytest.raises(NodeError, match="disk full: no room for the overlay") as caught,
        named_if_full("the overlay", tmp_path / "o"),
    ):
        raise failure
    assert f"the file system {mount_point(tmp_path)}," in caught.value.message
    assert "MiB free" in caught.value.message
    assert caught.value.hint.startswith("free space on ")


@pytest.mark.parametrize("failure", [OSError(errno.EACCES, "x"), ProgramError("other")])
def test_other_failures_are_not_called_full(failure: Exception) -> None:
    with pytest.raises(type(failure)) as caught, named_if_full("it", Path("/x")):
        raise failure
    assert caught.value is failure
