"""The disk that one job writes to: a qcow2 overlay on a read-only base."""

from __future__ import annotations

import os
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
    try:
        handle = os.open(overlay, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise NodeError(
            f"the overlay {overlay} exists already",
            hint="an earlier job of this id left it: remove it with: vmbatch reap",
        ) from None
    except OSError as error:
        with named_if_full("the overlay", overlay):
            raise
        raise NodeError(f"can't make the overlay {overlay}: {error.strerror}") from error
    try:
        _fill(overlay, base, base_format, size, deadline)
        os.fchown(handle, uid, gid)
    except BaseException:
        overlay.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)


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
