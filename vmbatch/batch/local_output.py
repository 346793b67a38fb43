"""What a job prints: the spool's files, and their way to our own output while it runs."""

from __future__ import annotations

import ctypes
import os
import select
import threading
from pathlib import Path

from vmbatch.job import Owner

_IN_MODIFY = 0x2  # inotify(7)
_BLOCK = 1 << 16


class SpoolFile:
    """One of the files ``ID.OU`` and ``ID.ER``, open for as long as the job is.

    It is never opened twice by name: its directory is everybody's, and the file its owner's.

    Args:
        path: the file, not there yet.
        owner: whose it becomes.
    """

    def __init__(self, path: Path, owner: Owner) -> None:
        self.path = path
        path.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        self.fd = os.open(path, flags, 0o600)
        self._inode = f"/proc/self/fd/{self.fd}"
        self.reader = os.open(self._inode, os.O_RDONLY)
        os.fchown(self.fd, owner.uid, owner.gid)

    def empty(self) -> None:
        """Forget what an earlier attempt printed."""
        os.ftruncate(self.fd, 0)

    def watch(self) -> int:
        """Return an inotify descriptor that tells of each write."""
        libc = ctypes.CDLL(None, use_errno=True)
        fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if fd < 0 or libc.inotify_add_watch(fd, self._inode.encode(), _IN_MODIFY) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return int(fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)
        os.close(self.reader)


class Follower:
    """Copies a growing file to a descriptor of ours, byte for byte, until it is told to stop.

    Args:
        file: what grows.
        target: where its bytes go.
    """

    def __init__(self, file: SpoolFile, target: int) -> None:
        self._file = file
        self._target = target
        self._offset = 0
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._watch = file.watch()
        self.delivered = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def finish(self) -> bool:
        """Copy what is left; tell whether everything arrived."""
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        os.close(self._stop)
        os.close(self._watch)
        return self.delivered

    def _run(self) -> None:
        try:
            while True:
                ready, _, _ = select.select([self._watch, self._stop], [], [])
                if self._watch in ready:
                    os.read(self._watch, _BLOCK)
                self._copy()
                if self._stop in ready:
                    return
        except OSError:
            self.delivered = False

    def _copy(self) -> None:
        while data := os.pread(self._file.reader, _BLOCK, self._offset):
            write_all(self._target, data)
            self._offset += len(data)


class Delivery:
    """The way of a job's two files to our own output.

    Args:
        output: its standard output.
        error: its standard error; the same file where the two are joined.
        targets: our descriptors for them.
    """

    def __init__(self, output: SpoolFile, error: SpoolFile, targets: tuple[int, int]) -> None:
        self.files = (output, error)
        self._targets = targets
        self._followers: list[Follower] = []
        self.whole = True

    def begin(self) -> None:
        """Pass on what is there, and what comes, as it comes."""
        pairs = zip(dict.fromkeys(self.files), self._targets, strict=False)
        self._followers = [Follower(file, target) for file, target in pairs]

    def finish(self) -> None:
        """Pass on the rest; `whole` then tells whether all of it arrived."""
        if not self._followers:
            self.begin()
        for follower in self._followers:
            self.whole = follower.finish() and self.whole
        self._followers = []

    def close(self) -> None:
        """Close the files."""
        for file in dict.fromkeys(self.files):
            file.close()


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, in as many pieces as it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def pump(source: int, target: int) -> None:
    """Copy `source` to `target` until either ends, then close `target`; in a thread of its own."""

    def run() -> None:
        try:
            while data := os.read(source, _BLOCK):
                write_all(target, data)
        except OSError:
            return
        finally:
            os.close(target)

    threading.Thread(target=run, daemon=True).start()
