from __future__ import annotations

import errno
import os
import stat
from io import BytesIO
from pathlib import Path
from typing import Any

import pycdlib
import pytest

from vmbatch.context.bundle import DiscFile
from vmbatch.context.cdrom import write_disc
from vmbatch.errors import NodeError

pytestmark = pytest.mark.unit

FILES = (
    DiscFile(path="user-data", data=b"#cloud-config\n{}\n"),
    DiscFile(path="meta-data", data=b"{}\n"),
    DiscFile(path="vmbatch/guest.conf", data=b"A=1\n", mode=0o400),
    DiscFile(path="vmbatch/deeper/ssh_host_ed25519_key.pub", data=b"x" * 5000, mode=0o555),
    DiscFile(path="prolog.sh", data=b"", mode=0o555),
)


def write(path: Path, files: tuple[DiscFile, ...] = FILES, label: str = "cidata") -> None:
    write_disc(path, files, uid=os.getuid(), gid=os.getgid(), label=label)


def read(path: Path, **where: str) -> bytes:
    disc = pycdlib.PyCdlib()
    disc.open(str(path))
    out = BytesIO()
    disc.get_file_from_iso_fp(out, **where)
    disc.close()
    return out.getvalue()


@pytest.mark.parametrize("names", ["rr_path", "joliet_path"])
def test_every_file_is_there_under_both_kinds_of_name(tmp_path: Path, names: str) -> None:
    write(tmp_path / "c.iso")
    for file in FILES:
        assert read(tmp_path / "c.iso", **{names: f"/{file.path}"}) == file.data


def test_modes_and_owner_are_those_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "c.iso")
    disc = pycdlib.PyCdlib()
    disc.open(str(tmp_path / "c.iso"))
    for file in FILES:
        assert attributes(disc, file.path) == (stat.S_IFREG | file.mode, 0, 0)
    assert attributes(disc, "vmbatch") == (stat.S_IFDIR | 0o555, 0, 0)


def attributes(disc: Any, path: str) -> tuple[int, int, int]:
    posix = disc.get_record(rr_path=f"/{path}").rock_ridge.dr_entries.px_record
    return posix.posix_file_mode, posix.posix_user_id, posix.posix_group_id


@pytest.mark.parametrize("label", ["cidata", "config-2"])
def test_the_label_is_the_volume_id(tmp_path: Path, label: str) -> None:
    write(tmp_path / "c.iso", label=label)
    data = (tmp_path / "c.iso").read_bytes()
    assert data[16 * 2048 + 1 : 16 * 2048 + 6] == b"CD001"
    assert data[16 * 2048 + 40 : 16 * 2048 + 72].rstrip() == label.encode()


def test_only_its_owner_can_read_it_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        write(tmp_path / "c.iso")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "c.iso").stat().st_mode) == 0o600


def test_the_owner_is_set_through_the_open_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fchown", lambda _, uid, gid: given.append((uid, gid)))
    write_disc(tmp_path / "c.iso", FILES, uid=1234, gid=2345)
    assert given == [(1234, 2345)]


def test_a_file_or_link_in_the_way_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("mine")
    (tmp_path / "c.iso").symlink_to(tmp_path / "other")
    with pytest.raises(NodeError, match=r"c\.iso can't be written: File exists"):
        write(tmp_path / "c.iso")
    assert (tmp_path / "other").read_text() == "mine"


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="No such file"):
        write(tmp_path / "none" / "c.iso")


def test_a_full_disk_says_so_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def full(handle: int, data: memoryview) -> int:
        if len(data) < 20000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data[:10000])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(NodeError, match="disk full") as caught:
        write(tmp_path / "c.iso")
    assert str(tmp_path) in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "/abs", "a//b", "../up", "a/.", "n" * 65])
def test_names_that_do_not_fit_are_refused_before_anything_is_written(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(NodeError, match="can't be on a disc"):
        write(tmp_path / "c.iso", (DiscFile(path=name, data=b""),))
    assert list(tmp_path.iterdir()) == []
