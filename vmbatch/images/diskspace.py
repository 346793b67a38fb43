"""Telling a full disk from other failures, with the file system's name."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vmbatch.errors import NodeError, ProgramError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_TEXTS = tuple(os.strerror(number) for number in _FULL)


def mount_point(path: Path) -> Path:
    """Return where the file system that holds `path` is mounted."""
    here = path.absolute()
    while not here.is_mount() and here != here.parent:
        here = here.parent
    return here


def disk_full(what: str, path: Path) -> NodeError:
    """Return the error for `what` not fitting where `path` is."""
    place = mount_point(path)
    try:
        status = os.statvfs(place)
        room = f", {status.f_bavail * status.f_frsize // 2**20} MiB free"
    except OSError:
        room = ""
    return NodeError(
        f"disk full: no room for {what} {path} on the file system {place}{room}",
        hint=f"free space on {place} (see: df -h {place}; vmbatch reap; vmbatch image list)",
    )


@contextmanager
def named_if_full(what: str, path: Path) -> Iterator[None]:
    """Turn the failures of the body that mean a full disk into one error that says so.

    Args:
        what: what is being written, such as ``the overlay``.
        path: where.

    Raises:
        NodeError: the file system or the quota is exhausted.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise disk_full(what, path) from error
        raise
    except ProgramError as error:
        if any(text in error.message for text in _FULL_TEXTS):
            raise disk_full(what, path) from error
        raise
