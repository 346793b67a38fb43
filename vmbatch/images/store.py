"""The image store: names, what is known of each image, and the blobs behind them.

::

    ROOT/names/NAME.json          one image: digests and what the images command shows
    ROOT/blobs/sha256/ab/ab12…    disks, kernels, initrds: 0444, never written again
    ROOT/tmp/                     copies in the making
    ROOT/lock                     held while names change

Directories are root's, 0755. A blob is hashed once, while it is copied in.
"""

from __future__ import annotations

import difflib
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from vmbatch.errors import ImageError, NodeError
from vmbatch.images.blobs import Blobs, Draft, make_directory
from vmbatch.images.inspection import inspect_disk
from vmbatch.images.names import check_name
from vmbatch.images.record import READY_WAYS, SHARE_WAYS, Record, read_record, write_record

MAX_VIRTUAL_SIZE = 1 << 40
REPLACED_GRACE_SECONDS = 3600.0
"""How long the blobs of a replaced image stay: a job may just be starting from them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """An image in the store.

    Args:
        name: its name.
        digest: SHA-256 of the disk, hexadecimal.
        path: the disk.
        format: ``qcow2`` or ``raw``.
        virtual_size: bytes that a guest sees.
        kernel: for direct kernel boot, or None where the disk boots itself.
        initrd: goes with `kernel`, may be None.
        cmdline: goes with `kernel`, may be None.
        shares: ways its kernel can mount a share, best first: ``9p``, ``smb``; empty if unknown.
        created: when it was added, ISO 8601, UTC.
        origin: where it came from.
        description: one line for people.
        ready: how it tells that it is up: ``channel``, ``ssh``, or ``auto``.
    """

    name: str
    digest: str
    path: Path
    format: str
    virtual_size: int
    kernel: Path | None
    initrd: Path | None
    cmdline: str | None
    shares: tuple[str, ...]
    created: str
    origin: str
    description: str
    ready: str


class ImageStore:
    """The images of a node.

    Args:
        root: the store's directory; it is made when the first image comes.
        max_virtual_size: the largest disk to take, in bytes.
    """

    def __init__(self, root: Path, *, max_virtual_size: int = MAX_VIRTUAL_SIZE) -> None:
        self._root = root
        self._names = root / "names"
        self._blobs = Blobs(root)
        self._max_virtual_size = max_virtual_size

    def add(
        self,
        file: Path,
        name: str,
        *,
        format: str | None = None,  # noqa: A002
        description: str = "",
        origin: str = "",
        kernel: Path | None = None,
        initrd: Path | None = None,
        cmdline: str | None = None,
        shares: Sequence[str] = (),
        ready: str = "auto",
        replace: bool = False,
    ) -> Image:
        """Take a disk file into the store.

        Args:
            file: the disk, a regular file; it is copied.
            name: what to call the image.
            format: the format it must have; None for what its first bytes say.
            description: one line for people.
            origin: where it came from; the file's path if empty.
            kernel: kernel for direct boot, copied too.
            initrd: its initrd.
            cmdline: its command line.
            shares: ways the guest's kernel can mount a share, best first.
            ready: ``channel``, ``ssh`` or ``auto``.
            replace: whether an image of that name may be there already.

        Raises:
            ImageError: the name, the file or a property will not do.
            NodeError: the disk is full.
        """
        check_name(name)
        _check_properties(kernel, initrd, cmdline, shares, ready)
        if not replace:
            self._refuse_taken(name)
        self._make_directories()
        with ExitStack() as stack:
            disk, boot, ramdisk = (
                stack.enter_context(self._blobs.draft(source)) if source else None
                for source in (file, kernel, initrd)
            )
            if disk is None:
                raise ImageError("an image needs a disk", hint="name a disk file")
            found = inspect_disk(
                disk.path, declared=format, label=str(file), max_size=self._max_virtual_size
            )
            record = Record(
                disk=disk.digest,
                format=found.format,
                virtual_size=found.virtual_size,
                kernel=boot.digest if boot else None,
                initrd=ramdisk.digest if ramdisk else None,
                cmdline=cmdline,
                shares=tuple(shares),
                created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                origin=origin or str(file),
                description=description,
                ready=ready,
            )
            self._commit(name, record, [d for d in (disk, boot, ramdisk) if d], replace=replace)
        return self._image(name, record)

    def get(self, name: str) -> Image:
        """Look an image up: one small file is read.

        Raises:
            ImageError: there is none of that name.
        """
        check_name(name)
        record = read_record(self._names, name)
        if record is None:
            raise ImageError(
                f"there is no image named {name!r} on this node", hint=self._near(name)
            )
        return self._image(name, record)

    def list(self) -> tuple[Image, ...]:
        """All images, by name."""
        found = ((name, read_record(self._names, name)) for name in self._known())
        return tuple(self._image(name, record) for name, record in found if record)

    def delete(self, name: str) -> None:
        """Remove an image, and its blobs where no other image uses them.

        Raises:
            ImageError: there is none of that name.
        """
        self.get(name)
        with self._locked():
            record = read_record(self._names, name)
            (self._names / f"{name}.json").unlink(missing_ok=True)
            used = self._used()
            if record:
                self._blobs.remove(record.digests() - used)
            self._blobs.sweep(used, grace=REPLACED_GRACE_SECONDS)

    def _commit(self, name: str, record: Record, drafts: Sequence[Draft], *, replace: bool) -> None:
        with self._locked():
            if not replace:
                self._refuse_taken(name)
            before = read_record(self._names, name)
            for draft in drafts:
                self._blobs.place(draft)
            write_record(self._names, name, record)
            used = self._used()
            if before:
                self._blobs.retire(before.digests() - used)
            self._blobs.sweep(used, grace=REPLACED_GRACE_SECONDS)

    def _image(self, name: str, record: Record) -> Image:
        return Image(
            name=name,
            digest=record.disk,
            path=self._blobs.path(record.disk),
            format=record.format,
            virtual_size=record.virtual_size,
            kernel=self._blobs.path(record.kernel) if record.kernel else None,
            initrd=self._blobs.path(record.initrd) if record.initrd else None,
            cmdline=record.cmdline,
            shares=record.shares,
            created=record.created,
            origin=record.origin,
            description=record.description,
            ready=record.ready,
        )

    def _make_directories(self) -> None:
        try:
            make_directory(self._names)
        except OSError as error:
            raise NodeError(
                f"can't make the image store {self._root}: {error.strerror}",
                hint="run this as root, or set paths.images in the site file",
            ) from error

    def _known(self) -> tuple[str, ...]:
        return tuple(sorted(path.stem for path in self._names.glob("*.json")))

    def _used(self) -> set[str]:
        records = (read_record(self._names, name) for name in self._known())
        return {digest for record in records if record for digest in record.digests()}

    def _refuse_taken(self, name: str) -> None:
        if (self._names / f"{name}.json").exists():
            raise ImageError(
                f"there is an image named {name!r} already",
                hint=f"choose another name, replace it, or: vmbatch image delete {name}",
            )

    def _near(self, name: str) -> str:
        known = self._known()
        if not known:
            return "there is no image at all yet: vmbatch image build tiny"
        close = difflib.get_close_matches(name, known, n=1)
        guess = f"did you mean {close[0]!r}? " if close else ""
        return f"{guess}images here: {', '.join(known[:20])}"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        handle = os.open(self._root / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _check_properties(
    kernel: Path | None,
    initrd: Path | None,
    cmdline: str | None,
    shares: Sequence[str],
    ready: str,
) -> None:
    if kernel is None and (initrd is not None or cmdline is not None):
        raise ImageError(
            "an initrd or a kernel command line is of no use without a kernel",
            hint="name the kernel too, or leave both away: the disk then boots itself",
        )
    for way in shares:
        if way not in SHARE_WAYS:
            raise ImageError(
                f"{way!r} is no way to mount a share", hint=f"known: {', '.join(SHARE_WAYS)}"
            )
    if ready not in READY_WAYS:
        raise ImageError(
            f"{ready!r} is no way to become ready", hint=f"known: {', '.join(READY_WAYS)}"
        )
