"""Kernel files, initial RAM disks, the mirror's sources."""

from __future__ import annotations

import io
import lzma
import struct
from pathlib import Path

import pytest

from vmbatch.errors import ImageError, NodeError
from vmbatch.images.apt import Packages, sources
from vmbatch.images.build import RECIPES, build
from vmbatch.images.cpio import character_device, directory, link, regular, write_archive
from vmbatch.images.kernel import Kernel, unpack_bzimage, without_signature
from vmbatch.images.recipe import FILES
from vmbatch.images.store import ImageStore

pytestmark = pytest.mark.unit


def bzimage(payload: bytes, sectors: int = 3) -> bytes:
    head = bytearray((sectors + 1) * 512)
    head[0x1F1] = sectors
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", head, 0x248, 16, len(payload))
    return bytes(head) + bytes(16) + payload + b"rest"


def test_kernel_is_unpacked() -> None:
    packed = lzma.compress(b"\x7fELF kernel") + struct.pack("<I", 11)
    assert unpack_bzimage(bzimage(packed)) == b"\x7fELF kernel"


@pytest.mark.parametrize(
    ("image", "cause"),
    [(b"", "no bzImage"), (bytes(4096), "no bzImage"), (bzimage(b"\x02\x21\x4c\x18"), "xz")],
)
def test_other_kernels_are_named(image: bytes, cause: str) -> None:
    with pytest.raises(NodeError, match=cause):
        unpack_bzimage(image)


def test_signature_is_taken_off() -> None:
    signature = b"s" * 300
    head = bytes(8) + struct.pack(">I", len(signature))
    signed = b"module" + signature + head + b"~Module signature appended~\n"
    assert without_signature(signed) == b"module"
    assert without_signature(b"module") == b"module"


def test_modules_come_after_what_they_need() -> None:
    kernel = Kernel(
        version="1",
        root=Path("/nowhere"),
        dependencies={
            "a/virtio-rng.ko": ("v/virtio.ko",),
            "v/virtio.ko": ("v/virtio_ring.ko",),
            "v/virtio_ring.ko": (),
            "f/ext4.ko": ("v/virtio_ring.ko",),
        },
    )
    assert kernel.closure(["virtio_rng", "ext4", "virtio"]) == [
        "v/virtio_ring.ko",
        "v/virtio.ko",
        "a/virtio-rng.ko",
        "f/ext4.ko",
    ]
    with pytest.raises(NodeError, match="kernel 1 has no module zfs"):
        kernel.closure(["zfs"])


def read_archive(data: bytes) -> list[tuple[str, int, bytes, tuple[int, int]]]:
    found = []
    offset = 0
    while True:
        assert data[offset : offset + 6] == b"070701"
        words = [int(data[offset + 6 + 8 * i : offset + 14 + 8 * i], 16) for i in range(13)]
        name = data[offset + 110 : offset + 110 + words[11]]
        start = (offset + 110 + words[11] + 3) // 4 * 4
        content = data[start : start + words[6]]
        assert name.endswith(b"\0")
        if name == b"TRAILER!!!\0":
            return found
        assert (words[2], words[3]) == (0, 0)
        found.append((name[:-1].decode(), words[1], content, (words[9], words[10])))
        offset = (start + words[6] + 3) // 4 * 4


def test_archive_reads_back() -> None:
    out = io.BytesIO()
    entries = [
        directory("dev"),
        character_device("dev/console", 5, 1),
        regular("init", b"#!x", executable=True),
        regular("odd", b"12345"),
        link("sbin/modprobe", "/bin/busybox"),
    ]
    write_archive(out, entries)
    assert read_archive(out.getvalue()) == [
        ("dev", 0o040755, b"", (0, 0)),
        ("dev/console", 0o020600, b"", (5, 1)),
        ("init", 0o100755, b"#!x", (0, 0)),
        ("odd", 0o100644, b"12345", (0, 0)),
        ("sbin/modprobe", 0o120777, b"/bin/busybox", (0, 0)),
    ]


def test_sources_have_the_security_fixes() -> None:
    lines = sources("http://mirror").splitlines()
    assert [line.split("] ")[1] for line in lines] == [
        "http://mirror/debian bookworm main",
        "http://mirror/debian bookworm-updates main",
        "http://mirror/debian-security bookworm-security main",
    ]
    assert all("signed-by=/usr/share/keyrings/debian-archive-keyring.gpg" in line for line in lines)


def test_mirror_comes_from_the_environment(tmp_path: Path) -> None:
    assert Packages(tmp_path, {}).mirror == "http://deb.debian.org"
    chosen = Packages(tmp_path, {"VMBATCH_DEBIAN_MIRROR": "http://mirror/"})
    assert chosen.mirror == "http://mirror"


def test_unknown_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no recipe named 'windows'") as caught:
        build("windows", ImageStore(tmp_path), progress=print, cache=tmp_path)
    assert caught.value.hint == "recipes: tiny, debian12"


def test_files_of_the_guests_are_in_the_package() -> None:
    names = {str(path.relative_to(FILES)) for path in FILES.rglob("*") if path.is_file()}
    assert set(RECIPES) <= {name.split("/")[0] for name in names}
    scripts = {"initrd/init", "tiny/start", "tiny/context", "tiny/lease", "tiny/stop"}
    assert scripts <= names
    for name in scripts:
        assert (FILES / name).read_text().startswith("#!/bin/busybox sh\n")
