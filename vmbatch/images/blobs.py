"""Content-addressed files: written once, named by their SHA-256, read-only ever after."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vmbatch.errors import ImageError
from vmbatch.files import sync_directory
from vmbatch.images.diskspace import named_if_full

_CHUNK = 1 << 20
_ZEROS = bytes(_CHUNK)
_STALE_SECONDS = 86400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A whole, synced copy that has no place in the store yet.

    Args:
        path: where the copy is.
        digest: SHA-256 of its content, hexadecimal.
    """

    path: Path
    digest: str


class Blobs:
    """The directory of blobs.

    Args:
        root: the store's directory.
    """

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs" / "sha256"
        self._drafts = root / "tmp"

    def path(self, digest: str) -> Path:
        """Where the blob of that digest is, or would be."""
        return self._blobs / digest[:2] / digest

    @contextmanager
    def draft(self, source: Path) -> Iterator[Draft]:
        """Copy a file into the store's file system and hash it, in one pass.

        The copy is gone after the body unless the body placed it.

        Raises:
            ImageError: the source is no regular file, or can't be read.
            NodeError: the disk is full.
        """
        make_directory(self._drafts)
        path = self._drafts / secrets.token_hex(8)
        try:
            with named_if_full("the image", path):
                digest = _copy(source, path)
            yield Draft(path=path, digest=digest)
        finally:
            path.unlink(missing_ok=True)

    def place(self, draft: Draft) -> None:
        """Give a draft its name; if the blob is there already, that one stays."""
        target = self.path(draft.digest)
        if target.exists():
            os.utime(target)
            return
        make_directory(target.parent)
        with named_if_full("the image", target):
            draft.path.rename(target)
            sync_directory(target.parent)

    def retire(self, digests: Iterable[str]) -> None:
        """Note the time from which blobs have no name; `sweep` counts from it."""
        for digest in digests:
            if self.path(digest).exists():
                os.utime(self.path(digest))

    def remove(self, digests: Iterable[str]) -> None:
        """Remove blobs; those that are gone are no error."""
        for digest in digests:
            self.path(digest).unlink(missing_ok=True)

    def sweep(self, keep: set[str], *, grace: float) -> None:
        """Remove blobs that are not in `keep` and have been so for `grace` seconds.

        Drafts that a killed process left a day ago go too.
        """
        now = time.time()
        for path in self._blobs.glob("??/*"):
            if path.name not in keep and now - path.stat().st_mtime > grace:
                path.unlink(missing_ok=True)
        for path in self._drafts.glob("*"):
            if now - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink(missing_ok=True)


def make_directory(path: Path) -> None:
    """Make a directory and its parents, 0755 whatever the caller's umask is."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with suppress(FileExistsError):
        path.mkdir()
        path.chmod(0o755)


def _open_regular(source: Path) -> int:
    try:
        # O_NONBLOCK: opening a pipe must not hang; O_NOFOLLOW: its owner may turn a link meanwhile.
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ImageError(
            f"can't read {source}: {error.strerror}",
            hint="name an existing regular file, not a symbolic link",
        ) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ImageError(f"{source} is no regular file", hint="name a regular file")
    return handle


def _copy(source: Path, target: Path) -> str:
    digest = hashlib.sha256()
    out = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(_open_regular(source), "rb", 0) as reader, os.fdopen(out, "wb", 0) as writer:
        length = 0
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
            length += len(chunk)
            _write_sparse(writer.fileno(), chunk)
        os.ftruncate(writer.fileno(), length)
        os.fchmod(writer.fileno(), 0o444)
        os.fsync(writer.fileno())
    return digest.hexdigest()


def _write_sparse(handle: int, chunk: bytes) -> None:
    if chunk == _ZEROS[: len(chunk)]:
        os.lseek(handle, len(chunk), os.SEEK_CUR)
        return
    view = memoryview(chunk)
    while view:
        view = view[os.write(handle, view) :]
