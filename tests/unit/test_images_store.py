"""The image store: names, blobs, refusals, concurrency."""

from __future__ import annotations

import fcntl
import hashlib
import json
import multiprocessing
import os
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

from vmbatch.errors import ImageError
from vmbatch.images.store import REPLACED_GRACE_SECONDS, Image, ImageStore

pytestmark = pytest.mark.unit


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def make_raw(path: Path, seed: bytes = b"x", size: int = 1 << 20) -> Path:
    path.write_bytes(seed.ljust(4096, b"\1") + bytes(size - 4096))
    return path


def blobs(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "images/blobs").rglob("*") if path.is_file()}


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_added_image_can_be_got(store: ImageStore, tmp_path: Path) -> None:
    disk = make_raw(tmp_path / "disk.img")
    kernel, initrd = tmp_path / "k", tmp_path / "i"
    kernel.write_bytes(b"kernel")
    initrd.write_bytes(b"initrd")
    added = store.add(
        disk,
        "deb-12.1_x",
        description="a disk",
        kernel=kernel,
        initrd=initrd,
        cmdline="quiet",
        shares=("9p", "smb"),
        ready="channel",
    )
    assert store.get("deb-12.1_x") == added
    assert store.list() == (added,)
    assert added.digest == sha(disk)
    assert added.path.read_bytes() == disk.read_bytes()
    assert added.kernel is not None
    assert added.kernel.read_bytes() == b"kernel"
    assert added.initrd is not None
    assert added.initrd.read_bytes() == b"initrd"
    assert (added.format, added.virtual_size, added.cmdline) == ("raw", 1 << 20, "quiet")
    assert (added.shares, added.ready) == (("9p", "smb"), "channel")
    assert (added.origin, added.description) == (str(disk), "a disk")


def test_modes_do_not_hang_on_the_umask(store: ImageStore, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        image = store.add(make_raw(tmp_path / "disk"), "one")
    finally:
        os.umask(before)
    assert stat.S_IMODE(image.path.stat().st_mode) == 0o444
    directories = [path for path in (tmp_path / "images").rglob("*") if path.is_dir()]
    assert len(directories) >= 5
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directories}
    assert set(modes.values()) == {0o755}, modes
    assert stat.S_IMODE((tmp_path / "images/names/one.json").stat().st_mode) == 0o644


def test_copy_keeps_holes_and_length(store: ImageStore, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.write(b"start")
        file.seek(40 << 20)
        file.write(b"end")
        file.truncate(64 << 20)
    image = store.add(disk, "sparse")
    assert image.path.stat().st_size == 64 << 20
    assert image.path.stat().st_blocks * 512 < 8 << 20
    assert image.digest == sha(disk) == sha(image.path)


def test_equal_disks_share_a_blob(store: ImageStore, tmp_path: Path) -> None:
    disk = make_raw(tmp_path / "disk")
    store.add(disk, "one")
    store.add(disk, "two")
    assert blobs(tmp_path) == {sha(disk)}
    store.delete("one")
    assert store.get("two").path.exists()
    store.delete("two")
    assert blobs(tmp_path) == set()
    assert store.list() == ()


def test_delete_removes_kernel_and_initrd_that_nobody_uses(
    store: ImageStore, tmp_path: Path
) -> None:
    kernel = tmp_path / "k"
    kernel.write_bytes(b"kernel")
    initrd = tmp_path / "i"
    initrd.write_bytes(b"initrd")
    store.add(make_raw(tmp_path / "a", b"a"), "one", kernel=kernel, initrd=initrd)
    two = store.add(make_raw(tmp_path / "b", b"b"), "two", kernel=kernel)
    store.delete("one")
    assert blobs(tmp_path) == {two.digest, sha(kernel)}


def test_name_is_taken_once(store: ImageStore, tmp_path: Path) -> None:
    first = store.add(make_raw(tmp_path / "a", b"a"), "one")
    with pytest.raises(ImageError, match="'one' already") as caught:
        store.add(make_raw(tmp_path / "b", b"b"), "one")
    assert "vmbatch image delete one" in caught.value.hint
    assert store.get("one") == first
    assert blobs(tmp_path) == {first.digest}
    assert list((tmp_path / "images/tmp").iterdir()) == []


def test_replaced_blob_outlives_jobs_that_just_start(store: ImageStore, tmp_path: Path) -> None:
    old = store.add(make_raw(tmp_path / "a", b"a"), "one")
    new = store.add(make_raw(tmp_path / "b", b"b"), "one", replace=True)
    assert store.get("one") == new
    assert blobs(tmp_path) == {old.digest, new.digest}
    past = time.time() - REPLACED_GRACE_SECONDS - 1
    os.utime(old.path, (past, past))
    store.add(make_raw(tmp_path / "c", b"c"), "two")
    assert old.digest not in blobs(tmp_path)
    assert new.path.exists()


def test_draft_of_a_killed_add_goes_after_a_day(store: ImageStore, tmp_path: Path) -> None:
    store.add(make_raw(tmp_path / "a"), "one")
    young, stale = tmp_path / "images/tmp/young", tmp_path / "images/tmp/stale"
    young.touch()
    stale.touch()
    os.utime(stale, (1, 1))
    store.add(make_raw(tmp_path / "b", b"b"), "two")
    assert young.exists()
    assert not stale.exists()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", ".hidden", "-x", "a b", "a\n", "x" * 65, "ä", "a+b"]
)
def test_strange_names_are_refused_everywhere(store: ImageStore, tmp_path: Path, name: str) -> None:
    disk = make_raw(tmp_path / "disk")
    for act in (lambda: store.add(disk, name), lambda: store.get(name), lambda: store.delete(name)):
        with pytest.raises(ImageError, match="can't be the name"):
            act()


def test_unknown_name_gets_a_guess_and_a_list(store: ImageStore, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no image named 'tiny'") as caught:
        store.get("tiny")
    assert "vmbatch image build tiny" in caught.value.hint
    store.add(make_raw(tmp_path / "a"), "debian12")
    store.add(make_raw(tmp_path / "a"), "tiny")
    with pytest.raises(ImageError, match="no image named 'debain12'") as caught:
        store.get("debain12")
    assert caught.value.hint == "did you mean 'debian12'? images here: debian12, tiny"
    with pytest.raises(ImageError, match="no image named 'zzz'"):
        store.delete("zzz")


def test_get_reads_one_small_file(
    store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add(make_raw(tmp_path / "a"), "one")
    read: list[str] = []
    original = Path.read_bytes

    def spy(self: Path) -> bytes:
        read.append(self.name)
        return original(self)

    monkeypatch.setattr(Path, "read_bytes", spy)
    monkeypatch.setattr(hashlib, "sha256", lambda: pytest.fail("hashed"))
    store.get("one")
    assert read == ["one.json"]


@pytest.mark.parametrize(
    "change",
    [
        {"disk": "../../../../etc/shadow"},
        {"kernel": "/etc/shadow"},
        {"format": "vpc"},
        {"virtual_size": "4G"},
        {"more": 1},
    ],
)
def test_damaged_record_is_named(
    store: ImageStore, tmp_path: Path, change: dict[str, object]
) -> None:
    store.add(make_raw(tmp_path / "a"), "one")
    path = tmp_path / "images/names/one.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ImageError, match=r"record of image 'one' is damaged .*one\.json"):
        store.get("one")


def test_truncated_record_is_named(store: ImageStore, tmp_path: Path) -> None:
    store.add(make_raw(tmp_path / "a"), "one")
    (tmp_path / "images/names/one.json").write_text("{")
    with pytest.raises(ImageError, match="damaged"):
        store.get("one")


def test_only_regular_files_are_taken(store: ImageStore, tmp_path: Path) -> None:
    make_raw(tmp_path / "disk")
    (tmp_path / "link").symlink_to("disk")
    os.mkfifo(tmp_path / "pipe")
    for name, cause in (
        ("link", "symbolic link"),
        ("pipe", "no regular file"),
        (".", "no regular file"),
        ("gone", "No such file"),
    ):
        with pytest.raises(ImageError) as caught:
            store.add(tmp_path / name, "one")
        assert cause in str(caught.value)
    assert store.list() == ()


def test_properties_are_checked(store: ImageStore, tmp_path: Path) -> None:
    disk = make_raw(tmp_path / "a")
    with pytest.raises(ImageError, match="without a kernel"):
        store.add(disk, "one", cmdline="quiet")
    with pytest.raises(ImageError, match="'nfs' is no way"):
        store.add(disk, "one", shares=("nfs",))
    with pytest.raises(ImageError, match="'soon' is no way"):
        store.add(disk, "one", ready="soon")


def _add_many(root: Path, disk: Path, worker: int) -> None:
    store = ImageStore(root)
    for turn in range(5):
        store.add(disk, f"own-{worker}-{turn}")
        store.add(disk, "shared", replace=True)
        store.delete(f"own-{worker}-{turn}")


def test_concurrent_adds_and_deletes_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = []
    for number in range(4):
        disk = make_raw(tmp_path / f"disk{number}", bytes([65 + number // 2]), 64 << 10)
        args = (tmp_path / "images", disk, number)
        workers.append(context.Process(target=_add_many, args=args))
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    (image,) = ImageStore(tmp_path / "images").list()
    assert image.name == "shared"
    assert sha(image.path) == image.digest
    assert list((tmp_path / "images/tmp").iterdir()) == []


def test_names_change_under_the_lock(store: ImageStore, tmp_path: Path) -> None:
    disk = make_raw(tmp_path / "a")
    store.add(disk, "one")
    handle = os.open(tmp_path / "images/lock", os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    acts = [
        threading.Thread(target=store.delete, args=("one",)),
        threading.Thread(target=store.add, args=(disk, "two")),
    ]
    for act in acts:
        act.start()
        act.join(0.2)
        assert act.is_alive()
    assert [image.name for image in store.list()] == ["one"]
    os.close(handle)
    for act in acts:
        act.join(10)
    assert [image.name for image in store.list()] == ["two"]
    assert store.get("two").path.exists()


def test_qcow2_is_taken_with_its_virtual_size(store: ImageStore, tmp_path: Path) -> None:
    disk = tmp_path / "d.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "3G"], check=True)
    image: Image = store.add(disk, "q", format="qcow2")
    assert (image.format, image.virtual_size) == ("qcow2", 3 << 30)
