"""Is a disk file what it says, and does it keep its hands off other files?

The header of qcow2 is described in QEMU's docs/interop/qcow2.txt. The format is read from the
file's own first bytes here and named to qemu-img afterwards: QEMU's guess can be steered.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

from vmbatch.clock import Deadline
from vmbatch.errors import ImageError, ProgramError
from vmbatch.process import run

FORMATS = ("qcow2", "raw")
_QCOW2 = b"QFI\xfb"
_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"KDMV", "VMDK"),
    (0, b"COWD", "VMDK"),
    (0, b"# Disk DescriptorFile", "VMDK"),
    (0, b"conectix", "VHD"),
    (0, b"vhdxfile", "VHDX"),
    (0x40, b"\x7f\x10\xda\xbe", "VDI"),
    (0, b"QED\0", "QED"),
    (0, b"LUKS\xba\xbe", "LUKS"),
    (0, b"WithoutFreeSpace", "Parallels"),
    (0, b"WithouFreSpacExt", "Parallels"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"(\xb5/\xfd", "zstd"),
)
_HEAD_BYTES = 65536
_DATA_FILE_BIT = 1 << 2
_KNOWN_BITS = 0b11111
_UNCLEAN_BITS = 0b11
_DATA_FILE_NAME = 0x44415441
_LIMITS = ("--as=2147483648", "--cpu=20", "--fsize=0", "--nofile=64", "--core=0")
_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """What was found out about a disk file.

    Args:
        format: ``qcow2`` or ``raw``.
        virtual_size: bytes that a guest sees.
    """

    format: str
    virtual_size: int


def inspect_disk(path: Path, *, declared: str | None, label: str, max_size: int) -> Disk:
    """Prove that a disk file is fit to be a base.

    Args:
        path: the file, where nobody else can change it.
        declared: the format it is said to have, or None for what its first bytes say.
        label: how to call the file in messages.
        max_size: the largest virtual size, in bytes.

    Raises:
        ImageError: it is not.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    found = _format_of(head, label)
    if declared is not None and declared != found:
        raise ImageError(
            f"{label} is said to be {declared}, and its first bytes say {found}",
            hint=f"leave the format away, or say {found}",
        )
    size = _check_qcow2(head, label) if found == "qcow2" else path.stat().st_size
    _check_size(size, max_size, label)
    _ask_qemu(path, found, label, size)
    return Disk(format=found, virtual_size=size)


def _format_of(head: bytes, label: str) -> str:
    for offset, magic, name in _OTHERS:
        if head[offset : offset + len(magic)] == magic:
            raise ImageError(
                f"{label} is a {name} file; an image must be qcow2 or raw",
                hint="unpack it, or convert it: qemu-img convert -f FORMAT -O qcow2 FILE NEW.qcow2",
            )
    return "qcow2" if head.startswith(_QCOW2) else "raw"


def _check_size(size: int, max_size: int, label: str) -> None:
    if size == 0 or size % 512:
        raise ImageError(
            f"{label} is {size} bytes, which is no size for a disk",
            hint="a disk is a positive multiple of 512 bytes; was the file cut short?",
        )
    if size > max_size:
        raise ImageError(
            f"{label} has a virtual size of {size} bytes; the limit is {max_size}",
            hint="shrink the disk",
        )


def _check_qcow2(head: bytes, label: str) -> int:
    """Return the virtual size."""
    if len(head) < 72:
        raise ImageError(f"{label} ends within its qcow2 header", hint="was the file cut short?")
    version, backing = struct.unpack_from(">IQ", head, 4)
    size, crypt = struct.unpack_from(">QI", head, 24)
    if version not in (2, 3) or (version == 3 and len(head) < 104):
        raise ImageError(f"{label} has no qcow2 header of version 2 or 3", hint="convert it anew")
    if backing:
        raise ImageError(
            f"{label} names a backing file: it is not whole without another file",
            hint="make it whole: qemu-img convert -f qcow2 -O qcow2 FILE NEW.qcow2",
        )
    if crypt:
        raise ImageError(f"{label} is encrypted", hint="convert it to a plain qcow2 file")
    if version == 3:
        _check_features(head, label)
    return int(size)


def _check_features(head: bytes, label: str) -> None:
    (incompatible,) = struct.unpack_from(">Q", head, 72)
    (header_bytes,) = struct.unpack_from(">I", head, 100)
    if incompatible & _DATA_FILE_BIT or _DATA_FILE_NAME in _extensions(head, header_bytes):
        raise ImageError(
            f"{label} names an external data file: it is not whole without another file",
            hint="make it whole: qemu-img convert -f qcow2 -O qcow2 FILE NEW.qcow2",
        )
    if incompatible & ~_KNOWN_BITS:
        raise ImageError(
            f"{label} uses features of qcow2 that are not known here ({incompatible:#x})",
            hint="convert it with this node's qemu-img",
        )
    if incompatible & _UNCLEAN_BITS:
        raise ImageError(
            f"{label} was not closed cleanly, or is marked corrupt",
            hint="stop the guest that uses it, then: qemu-img check -r all FILE",
        )


def _extensions(head: bytes, offset: int) -> set[int]:
    """Types of the header extensions, each an 8-byte head and data padded to 8 bytes."""
    found: set[int] = set()
    while offset + 8 <= len(head):
        kind, length = struct.unpack_from(">II", head, offset)
        if kind == 0:
            break
        found.add(kind)
        offset += 8 + (length + 7) // 8 * 8
    return found


def _ask_qemu(path: Path, format_name: str, label: str, size: int) -> None:
    argv = ["prlimit", *_LIMITS, "qemu-img", "info", "-U", "-f", format_name, "--output=json"]
    try:
        told = json.loads(run([*argv, "--", path], deadline=Deadline.after(_SECONDS)))
    except (ProgramError, ValueError) as error:
        raise ImageError(
            f"{label} can't be read as {format_name}: {error}",
            hint=f"check it: qemu-img check -f {format_name} FILE",
        ) from error
    if told["virtual-size"] != size or "backing-filename" in told:
        raise ImageError(
            f"{label} is not read by QEMU as its header says (virtual size"
            f" {told['virtual-size']} instead of {size})",
            hint="convert it anew with qemu-img",
        )
