"""Descriptors of a mom's own that its prologues find open, under the numbers that were observed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

_INPUT = 9
_STARTER = (11, 14)


class Leaks:
    """Keeps the numbers free from when it is entered, which is before others could take them."""

    def __enter__(self) -> Leaks:
        """Reserve the numbers."""
        self._numbers = [number for number in (_INPUT, *_STARTER) if _is_free(number)]
        self._void()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the numbers back."""
        for number in self._numbers:
            os.close(number)

    @contextmanager
    def opened(self, stdin: int) -> Iterator[tuple[int, ...]]:
        """Yield the numbers: the job's standard input, and pipes between mom and starter.

        Args:
            stdin: the reading end of the job's standard input.
        """
        reader, writer = os.pipe()
        sources = dict(zip((_INPUT, *_STARTER), (stdin, reader, writer), strict=True))
        try:
            for number in self._numbers:
                os.dup2(sources[number], number, inheritable=False)
            yield tuple(self._numbers)
        finally:
            self._void()
            os.close(reader)
            os.close(writer)

    def _void(self) -> None:
        for number in self._numbers:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number, inheritable=False)
                os.close(null)


def _is_free(number: int) -> bool:
    """Whether nothing of this process stands there; what it inherited is not close-on-exec."""
    try:
        return not fcntl.fcntl(number, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    except OSError:
        return True
