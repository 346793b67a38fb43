"""The disks that one job writes to: a qcow2 overlay on a read-only base, or an empty disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vmbatch.clock import Deadline
from vmbatch.errors import NodeError, ProgramError
from vmbatch.images.diskspace import named_if_full
from vmbatch.process import run


def create_overlay(
    overlay: Path,
    *,
    base: Path,
    base_format: str,
    uid: int,
    gid: int,
    deadline: Deadline,
    size: int | None = None,
) -> None:
    """Make an overlay that only its owner can read and write.

    Args:
        overlay: the file to make, in a directory that root alone can write to.
        base: the base disk; it is named in the overlay and never written.
        base_format: its format: always given to QEMU, which must never guess it.
        uid: who will own the overlay.
        gid: its group.
        deadline: when to give up.
        size: virtual size in bytes; that of the base if None.

    Raises:
        NodeError: the disk is full, the overlay exists, or qemu-img failed.
    """
    with _owned(overlay, uid, gid):
        _fill(overlay, base, base_format, size, deadline)


def create_empty(
    disk: Path, *, disk_format: str, size: int, uid: int, gid: int, deadline: Deadline
) -> None:
    """Make an empty disk that only its owner can read and write.

    Args:
        disk: the file to make, in a directory that root alone can write to.
        disk_format: ``qcow2``, ``raw`` or ``vpc``.
        size: virtual size in bytes; room is taken as it is written to.
        uid: who will own the disk.
        gid: its group.
        deadline: when to give up.

    Raises:
        NodeError: the file system is full, the disk exists, or qemu-img failed.
    """
    with _owned(disk, uid, gid), named_if_full("the disk", disk):
        run(
            ["qemu-img", "create", "-q", "-f", disk_format, "--", str(disk), str(size)],
            deadline=deadline,
        )


@contextmanager
def _owned(disk: Path, uid: int, gid: int) -> Iterator[None]:
    """Make a file, let the body fill it, then give it away; it is gone if the body raises."""
    handle = _create(disk)
    try:
        yield
        os.fchown(handle, uid, gid)
    except BaseException:
        disk.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)


def _create(disk: Path) -> int:
    try:
        with named_if_full("the disk", disk):
            return os.open(disk, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise NodeError(
            f"the disk {disk} exists already",
            hint="an earlier job of this id left it: remove it with: vmbatch reap",
        ) from None
    except OSError as error:
        raise NodeError(
            f"can't make the disk {disk}: {error.strerror}",
            hint="check the state directory (paths.state of the site file)",
        ) from error


def _fill(
    overlay: Path, base: Path, base_format: str, size: int | None, deadline: Deadline
) -> None:
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", base_format]
    words = [] if size is None else [str(size)]
    try:
        with named_if_full("the overlay", overlay):
            run([*argv, "--", str(overlay), *words], deadline=deadline)
    except ProgramError as error:
        raise ProgramError(
            f"can't make the overlay {overlay} on {base}: {error.message}",
            hint=error.hint or f"check the base: qemu-img info -f {base_format} {base}",
        ) from error
