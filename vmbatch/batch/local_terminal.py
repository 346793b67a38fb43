"""The terminal of an interactive job, bridged to the one that we were started from."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager

from vmbatch.batch.local_output import write_all
from vmbatch.job import Owner

_BLOCK = 1 << 16
_END_OF_INPUT = b"\x04"
_AGAIN = 0.1
"""Seconds after which the end of our input is said again: a shell that is just changing the
terminal's mode loses it, and each reader in turn must find it."""


class Terminal:
    """A new terminal of the job owner's.

    Args:
        owner: whose it is.
    """

    def __init__(self, owner: Owner) -> None:
        self.master, self.slave = os.openpty()
        os.fchown(self.slave, owner.uid, -1)
        os.fchmod(self.slave, 0o620)
        self._output: threading.Thread | None = None
        self._ended = threading.Event()

    def take_over(self) -> None:
        """In a new process: lead a session whose terminal this is."""
        os.login_tty(self.slave)

    def copy_size(self, *_signal: object) -> None:
        """Give it the size of our own terminal, where that is one."""
        if os.isatty(sys.stdin.fileno()):
            size = fcntl.ioctl(sys.stdin.fileno(), termios.TIOCGWINSZ, bytes(8))
            if struct.unpack("HHHH", size)[:2] != (0, 0):
                fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    @contextmanager
    def bridged(self) -> Iterator[None]:
        """Bridge it for the body; keys go through as they are typed, Ctrl-C included."""
        own = sys.stdin.fileno()
        saved = termios.tcgetattr(own) if os.isatty(own) else None
        before = signal.signal(signal.SIGWINCH, self.copy_size)
        self.copy_size()
        try:
            if saved:
                tty.setraw(own)
            threading.Thread(target=self._forward_input, daemon=True).start()
            self._output = threading.Thread(target=self._forward_output, daemon=True)
            self._output.start()
            yield
            self.hang_up()
            self._output.join()
        finally:
            self._ended.set()
            signal.signal(signal.SIGWINCH, before)
            if saved:
                termios.tcsetattr(own, termios.TCSADRAIN, saved)

    def hang_up(self) -> None:
        """Close our name for the job's side: when its processes have gone, output ends."""
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1

    def _forward_input(self) -> None:
        own = sys.stdin.fileno()
        try:
            while data := os.read(own, _BLOCK):
                write_all(self.master, data)
            while not self._ended.wait(_AGAIN):
                write_all(self.master, _END_OF_INPUT)
        except OSError:
            return

    def _forward_output(self) -> None:
        try:
            while data := os.read(self.master, _BLOCK):
                write_all(sys.stdout.fileno(), data)
        except OSError:  # EIO: nobody has the other side open any more
            return
