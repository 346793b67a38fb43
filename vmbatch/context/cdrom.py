"""The disc: an ISO 9660 image with Rock Ridge and Joliet names, made in memory, written once."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

from vmbatch.context.bundle import DiscFile
from vmbatch.errors import NodeError

_JOLIET_LONGEST = 64
_REGULAR = 0o100000
_DIRECTORY = 0o040555


def write_disc(
    path: Path, files: Sequence[DiscFile], *, uid: int, gid: int, label: str = "cidata"
) -> None:
    """Write a new disc that only `uid` can read.

    Args:
        path: the file to make; it must not exist. Its directory is root's.
        files: what is on it.
        uid: numeric id of its owner.
        gid: numeric id of its group.
        label: volume id; cloud-init looks for ``cidata``.

    Raises:
        NodeError: a name does not fit, or the file can't be written; then it is not left.
    """
    image = disc_image(files, label=label)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, 0o600)
    except OSError as error:
        raise _cannot_write(path, error) from None
    try:
        with os.fdopen(handle, "wb", buffering=0) as file:
            _write_all(file.fileno(), image)
            os.fchown(handle, uid, gid)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _cannot_write(path, error) from None


def disc_image(files: Sequence[DiscFile], *, label: str) -> memoryview:
    """Return the bytes of a disc.

    Raises:
        NodeError: a name does not fit.
    """
    import pycdlib

    for file in files:
        _check(file.path)
    disc = pycdlib.PyCdlib()
    disc.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=label)
    places = {"": ""}
    for number, directory in enumerate(_directories(files)):
        parent, _, name = directory.rpartition("/")
        places[directory] = f"{places[parent]}/D{number:05}"
        disc.add_directory(
            places[directory],
            rr_name=name,
            joliet_path=f"/{directory}",
            file_mode=_DIRECTORY,
        )
    for number, file in enumerate(files):
        parent, _, name = file.path.rpartition("/")
        disc.add_fp(
            BytesIO(file.data),
            len(file.data),
            f"{places[parent]}/F{number:05}.;1",
            rr_name=name,
            joliet_path=f"/{file.path}",
            file_mode=_REGULAR | file.mode,
        )
    image = BytesIO()
    disc.write_fp(image)
    return image.getbuffer()


def _directories(files: Sequence[DiscFile]) -> Iterator[str]:
    """Name each directory once, parents first."""
    seen = {""}
    for file in files:
        steps = file.path.split("/")[:-1]
        for depth in range(1, len(steps) + 1):
            directory = "/".join(steps[:depth])
            if directory not in seen:
                seen.add(directory)
                yield directory


def _check(path: str) -> None:
    """Refuse a bad name before pycdlib sees it: its object is broken after a refusal."""
    for name in path.split("/"):
        if name in ("", ".", "..") or len(name) > _JOLIET_LONGEST:
            raise NodeError(
                f"{path!r} can't be on a disc: {name!r} is not a file name of at most "
                f"{_JOLIET_LONGEST} characters",
                hint="give it a shorter name",
            )


def _write_all(handle: int, data: memoryview) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _cannot_write(path: Path, error: OSError) -> NodeError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NodeError(
            f"the disc {path} can't be written: disk full",
            hint=f"free some space in {path.parent}",
        )
    return NodeError(
        f"the disc {path} can't be written: {error.strerror}",
        hint=f"check {path.parent}",
    )
