from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from vmbatch.errors import NodeError
from vmbatch.jobdir import JobDir, make_directories, read_json, write_file, write_json

pytestmark = pytest.mark.unit


@pytest.fixture
def place(tmp_path: Path) -> JobDir:
    return JobDir(tmp_path / "state", tmp_path / "run", "17.vm")


def test_files_are_put_in_place_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"one", uid=os.getuid(), gid=os.getgid())
    write_file(path, b"two", mode=0o400, uid=os.getuid(), gid=os.getgid())
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o400
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fchmod", full)
    with pytest.raises(NodeError, match="No space left on device") as caught:
        write_file(tmp_path / "file", b"x", uid=os.getuid(), gid=os.getgid())
    assert "df -h" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_shared_directories_let_owners_reach_only_their_own(place: JobDir) -> None:
    make_directories(place.state, place.run)
    modes = {name: (place.state / name).stat().st_mode & 0o777 for name in ("", "jobs", "attempts")}
    assert modes == {"": 0o755, "jobs": 0o711, "attempts": 0o700}
    assert (place.run / "jobs").stat().st_mode & 0o777 == 0o755
    assert (place.run / "locks").stat().st_mode & 0o777 == 0o700


def test_a_job_directory_goes_with_all_that_is_in_it(place: JobDir) -> None:
    place.create()
    place.journal.intend("port", port=1)
    (place.path / "smb" / "private").mkdir(parents=True)
    (place.path / "smb" / "private" / "passdb").write_text("x")
    (place.path / "link").symlink_to("/etc")
    place.remove()
    assert not place.path.exists()
    assert Path("/etc/passwd").exists()


def test_removing_twice_is_harmless(place: JobDir) -> None:
    place.create()
    place.remove()
    place.remove()


def test_creating_over_another_prologues_is_refused(place: JobDir) -> None:
    place.create()
    with pytest.raises(NodeError, match="File exists"):
        place.create()


def test_json_that_is_torn_reads_as_nothing(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": 1}, uid=os.getuid(), gid=os.getgid())
    assert read_json(tmp_path / "a") == {"b": 1}
    (tmp_path / "a").write_text('{"b"')
    assert read_json(tmp_path / "a") == {}
    assert read_json(tmp_path / "none") == {}
