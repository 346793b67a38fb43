"""Initial RAM disks, written without device nodes or root: cpio's newc format.

The format is in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One file of an archive; all belong to root.

    Args:
        name: path without a leading slash; directories come before what is in them.
        mode: type and permissions, as in `stat.st_mode`.
        data: content, or a symbolic link's target.
        device: major and minor number of a device node.
    """

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(name: str) -> Entry:
    """Return a directory's entry."""
    return Entry(name=name, mode=stat.S_IFDIR | 0o755)


def regular(name: str, data: bytes, *, executable: bool = False) -> Entry:
    """Return a regular file's entry."""
    return Entry(name=name, mode=stat.S_IFREG | (0o755 if executable else 0o644), data=data)


def link(name: str, target: str) -> Entry:
    """Return a symbolic link's entry."""
    return Entry(name=name, mode=stat.S_IFLNK | 0o777, data=target.encode())


def character_device(name: str, major: int, minor: int) -> Entry:
    """Return a device node's entry."""
    return Entry(name=name, mode=stat.S_IFCHR | 0o600, device=(major, minor))


def write_archive(out: BinaryIO, entries: Iterable[Entry]) -> None:
    """Write an uncompressed archive."""
    for number, entry in enumerate(entries, start=1):
        _write(out, number, entry)
    _write(out, 0, Entry(name="TRAILER!!!", mode=0))


def _write(out: BinaryIO, number: int, entry: Entry) -> None:
    name = entry.name.encode() + b"\0"
    major, minor = entry.device
    links, mtime, owner, group, checksum = 1, 0, 0, 0, 0
    fields = (
        *(number, entry.mode, owner, group, links, mtime, len(entry.data)),
        *(0, 0, major, minor, len(name), checksum),
    )
    head = b"070701" + b"".join(b"%08X" % value for value in fields) + name
    out.write(head + bytes(-len(head) % 4))
    out.write(entry.data + bytes(-len(entry.data) % 4))
