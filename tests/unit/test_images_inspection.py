"""Disk files that are not what they say, or that reach for other files."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmbatch.errors import ImageError
from vmbatch.images.inspection import inspect_disk

pytestmark = pytest.mark.unit


def qemu_img(*words: object) -> None:
    subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True)


def qcow2(path: Path, *words: object, size: str = "1M") -> Path:
    qemu_img("create", "-q", "-f", "qcow2", *words, path, size)
    return path


def refusal(path: Path, declared: str | None = None, max_size: int = 1 << 40) -> str:
    with pytest.raises(ImageError) as caught:
        inspect_disk(path, declared=declared, label="the file", max_size=max_size)
    assert caught.value.hint
    return caught.value.message


def patch(path: Path, offset: int, data: bytes) -> Path:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
    return path


@pytest.mark.parametrize("compat", ["0.10", "1.1"])
def test_whole_qcow2_is_fit(tmp_path: Path, compat: str) -> None:
    disk = qcow2(tmp_path / "d", "-o", f"compat={compat}")
    found = inspect_disk(disk, declared=None, label="d", max_size=1 << 40)
    assert (found.format, found.virtual_size) == ("qcow2", 1 << 20)


def test_raw_is_fit(tmp_path: Path) -> None:
    (tmp_path / "d").write_bytes(bytes(1024))
    found = inspect_disk(tmp_path / "d", declared="raw", label="d", max_size=1 << 40)
    assert (found.format, found.virtual_size) == ("raw", 1024)


def test_backing_file_is_refused(tmp_path: Path) -> None:
    base = qcow2(tmp_path / "base")
    qemu_img("create", "-f", "qcow2", "-b", base, "-F", "qcow2", tmp_path / "d")
    assert "backing file" in refusal(tmp_path / "d")


def test_external_data_file_is_refused(tmp_path: Path) -> None:
    disk = qcow2(tmp_path / "d", "-o", f"data_file={tmp_path / 'data'}")
    assert "external data file" in refusal(disk)


def test_name_of_a_data_file_without_its_bit_is_refused(tmp_path: Path) -> None:
    disk = qcow2(tmp_path / "d", "-o", f"data_file={tmp_path / 'data'}")
    patch(disk, 72, struct.pack(">Q", 0))
    assert "external data file" in refusal(disk)


def test_json_filename_in_a_header_never_reaches_qemu(tmp_path: Path) -> None:
    disk = qcow2(tmp_path / "d")
    name = b'json:{"driver":"raw","file":{"driver":"file","filename":"/etc/shadow"}}'
    patch(disk, 8, struct.pack(">QI", 512, len(name)))
    patch(disk, 512, name)
    assert "backing file" in refusal(disk)


@pytest.mark.parametrize(("bit", "cause"), [(0, "cleanly"), (1, "corrupt"), (5, "not known")])
def test_features_that_make_a_disk_unfit(tmp_path: Path, bit: int, cause: str) -> None:
    disk = patch(qcow2(tmp_path / "d"), 72, struct.pack(">Q", 1 << bit))
    assert cause in refusal(disk)


def test_encryption_is_refused(tmp_path: Path) -> None:
    assert "encrypted" in refusal(patch(qcow2(tmp_path / "d"), 32, struct.pack(">I", 2)))


@pytest.mark.parametrize("version", [0, 1, 4])
def test_other_versions_are_refused(tmp_path: Path, version: int) -> None:
    disk = patch(qcow2(tmp_path / "d"), 4, struct.pack(">I", version))
    assert "version 2 or 3" in refusal(disk)


@pytest.mark.parametrize("length", [4, 71, 80])
def test_short_headers_are_refused(tmp_path: Path, length: int) -> None:
    head = qcow2(tmp_path / "d").read_bytes()[:length]
    (tmp_path / "short").write_bytes(head)
    assert "header" in refusal(tmp_path / "short")


def test_format_must_be_the_declared_one(tmp_path: Path) -> None:
    assert "said to be raw" in refusal(qcow2(tmp_path / "q"), "raw")
    (tmp_path / "r").write_bytes(bytes(512))
    assert "said to be qcow2" in refusal(tmp_path / "r", "qcow2")


@pytest.mark.parametrize(
    ("kind", "name"), [("vmdk", "VMDK"), ("vpc", "VHD"), ("vhdx", "VHDX"), ("vdi", "VDI")]
)
def test_other_containers_do_not_pass_as_raw(tmp_path: Path, kind: str, name: str) -> None:
    qemu_img("create", "-q", "-f", kind, tmp_path / "d", "1M")
    assert f"is a {name} file" in refusal(tmp_path / "d", "raw")


def test_virtual_size_is_limited(tmp_path: Path) -> None:
    disk = qcow2(tmp_path / "d", size="2T")
    assert str(2 << 40) in refusal(disk)
    assert inspect_disk(disk, declared=None, label="d", max_size=2 << 40).virtual_size == 2 << 40
    (tmp_path / "raw").write_bytes(bytes(1024))
    assert "limit is 512" in refusal(tmp_path / "raw", max_size=512)


@pytest.mark.parametrize("size", [0, 1, 513])
def test_sizes_that_no_disk_has_are_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "d").write_bytes(bytes(size))
    assert f"is {size} bytes" in refusal(tmp_path / "d")


def test_what_qemu_refuses_is_refused(tmp_path: Path) -> None:
    disk = patch(qcow2(tmp_path / "d"), 40, struct.pack(">Q", 1))
    assert "can't be read as qcow2" in refusal(disk)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(4, 200), st.binary(min_size=1, max_size=8)), max_size=6))
def test_no_header_gets_past_with_another_error(
    tmp_path: Path, changes: list[tuple[int, bytes]]
) -> None:
    """Whatever the header says: an answer that holds, or our own error."""
    path = tmp_path / "fuzz"
    path.unlink(missing_ok=True)
    qcow2(path)
    for offset, data in changes:
        patch(path, offset, data)
    try:
        found = inspect_disk(path, declared="qcow2", label="fuzz", max_size=1 << 40)
    except ImageError:
        return
    head = path.read_bytes()
    assert struct.unpack_from(">Q", head, 8) == (0,)
    assert 0 < found.virtual_size <= 1 << 40
