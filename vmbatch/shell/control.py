"""The socket over which further sessions go through ssh's connection, and ssh's own words."""

# `pathlib` is slow to import, and wants str where the kernel has bytes.
# ruff: noqa: PTH102, PTH106, PTH108, S108

from __future__ import annotations

import contextlib
import os
import stat

# Of ssh's debug lines: our session gets its channel, which is the first of its kind ...
_OPENED = b"[client-session]"
# ... and its command has told an exit status.
_ENDED = b": channel %s rtype exit-status "
_NOT_COMPLAINTS = ("debug", "Authenticated to ", "Transferred: ", "Bytes per second: ")


# A socket's name has 107 bytes, of which our own part and what ssh appends at first take 28.
_LONGEST = 79


class Control:
    """A private directory with the control socket and a pipe for ssh's log.

    Batch systems end jobs with KILL, after which nobody tidies up. So the directory lives only
    until the socket is there: from then on, an open descriptor is the way to it.
    """

    def __init__(self, parent: str) -> None:
        """Make it.

        Args:
            parent: directory of the caller's own for it, gone with the job; /tmp serves where it
                is not there, is somebody else's, or its name is too long for a socket's.
        """
        if _is_fit(parent):
            self._directory = f"{parent}/{os.urandom(4).hex()}"
        else:
            self._directory = f"/tmp/vmbatch-{os.getuid()}-{os.urandom(8).hex()}"
        os.mkdir(self._directory, 0o700)  # fails where somebody was quicker
        self.socket_path = f"{self._directory}/s"
        self.log_path = f"{self._directory}/log"
        os.mkfifo(self.log_path, 0o600)
        self.log = os.open(self.log_path, os.O_RDWR | os.O_NONBLOCK)
        self._socket = -1
        self._words = b""

    @property
    def path(self) -> str:
        """Where ssh finds the socket now; empty when there is none yet."""
        return "" if self._socket < 0 else f"/proc/{os.getpid()}/fd/{self._socket}"

    def read_log(self) -> None:
        """Take in what ssh said; the socket may be there since."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._words += os.read(self.log, 65536)
        if self._socket < 0 and self._directory:
            self._hold_socket()

    def _hold_socket(self) -> None:
        try:
            held = os.open(self.socket_path, os.O_PATH | os.O_NOFOLLOW)
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(os.fstat(held).st_mode):
            os.close(held)
            return
        self._socket = held
        self.tidy()

    @property
    def status_told(self) -> bool:
        """Whether the guest has told an exit status."""
        before, opened, _ = self._words.partition(_OPENED)
        channel = before.rpartition(b"channel ")[2].partition(b":")[0]
        return bool(opened) and _ENDED % channel in self._words

    @property
    def complaint(self) -> str:
        """The last that ssh said and was no debug line."""
        lines = [line.strip() for line in self._words.decode(errors="replace").splitlines()]
        plain = [line for line in lines if line and not line.startswith(_NOT_COMPLAINTS)]
        return plain[-1] if plain else "ssh gave no reason"

    def tidy(self) -> None:
        """Remove the directory."""
        for path in (self.socket_path, self.log_path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(self._directory)
        self._directory = ""


def _is_fit(parent: str) -> bool:
    try:
        return len(parent) <= _LONGEST and os.stat(parent).st_uid == os.getuid()  # noqa: PTH116
    except OSError:
        return False
