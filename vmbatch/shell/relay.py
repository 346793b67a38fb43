"""Our standard input, with the header ahead of it, to ssh's."""

from __future__ import annotations

import os
import select

_CHUNK = 65536


class Relay:
    """A pipe to ssh that is fed without ever blocking.

    Args:
        ahead: bytes that go first.
        source: descriptor of the rest, or -1 for none.
    """

    def __init__(self, ahead: bytes, source: int) -> None:
        self._buffer = memoryview(ahead)
        self._source = source
        self.reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def add_ahead(self, ahead: bytes) -> None:
        """Put more bytes behind those that go first; only before anything was read."""
        self._buffer = memoryview(bytes(self._buffer) + ahead)

    def interest(self) -> list[tuple[int, int]]:
        """What to poll for: descriptors and events."""
        if self._writer < 0:
            return []
        if self._buffer:
            return [(self._writer, select.POLLOUT)]
        # Of the pipe, only its breaking matters now.
        return [(self._source, select.POLLIN), (self._writer, 0)]

    def move(self, descriptor: int, events: int) -> None:
        """Act on an event of `interest`."""
        if descriptor == self._writer and events & (select.POLLERR | select.POLLNVAL):
            self.close()
        elif descriptor == self._writer:
            self._write()
        elif descriptor == self._source:
            self._read()

    def _read(self) -> None:
        try:
            data = os.read(self._source, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._buffer = memoryview(data)
            self._write()
        else:
            self.close()

    def _write(self) -> None:
        try:
            self._buffer = self._buffer[os.write(self._writer, self._buffer) :]
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not self._buffer and self._source < 0:
            self.close()

    def close(self) -> None:
        """End ssh's input."""
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
