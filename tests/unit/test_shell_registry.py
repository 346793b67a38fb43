"""What of the registry is believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vmbatch.errors import SiteError
from vmbatch.shell import registry

pytestmark = pytest.mark.unit
ME = os.getuid()


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    (tmp_path / "jobs").mkdir()
    return tmp_path / "jobs/17.vm"


def find(path: Path, trusted: int = ME) -> registry.Entry | None:
    return registry.find(str(path.parent.parent), path.name, trusted=trusted)


def test_bare(entry: Path) -> None:
    entry.write_text("bare\n")
    found = find(entry)
    assert found is not None
    assert found.jobdir is None


def test_guest(entry: Path) -> None:
    entry.write_text("guest /var/lib/vmbatch/jobs/17.vm\n")
    found = find(entry)
    assert found is not None
    assert found.jobdir == "/var/lib/vmbatch/jobs/17.vm"


def test_nothing(entry: Path) -> None:
    assert find(entry) is None


@pytest.mark.parametrize("text", ["", "bare", "BARE\n", "bare \n", "guest \n", "guest x\n"])
def test_damaged(entry: Path, text: str) -> None:
    entry.write_text(text)
    with pytest.raises(SiteError, match="says neither"):
        find(entry)


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_others_can_write(entry: Path, mode: int) -> None:
    entry.write_text("bare\n")
    entry.chmod(mode)
    with pytest.raises(SiteError, match="others than root"):
        find(entry)


def test_owner_is_another(entry: Path) -> None:
    entry.write_text("bare\n")
    with pytest.raises(SiteError, match="others than root"):
        find(entry, trusted=ME + 1)


def test_no_plain_file(entry: Path) -> None:
    os.mkfifo(entry)
    with pytest.raises(SiteError, match="not a plain file"):
        find(entry)
    entry.unlink()
    entry.symlink_to("/etc/passwd")
    with pytest.raises(SiteError, match="symbolic links"):
        find(entry)
