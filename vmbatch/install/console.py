"""What setup.sh tells: on stderr, so that the output of a demonstration's job stays apart."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


def say(text: str) -> None:
    """Tell one line."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@contextmanager
def step(text: str) -> Iterator[None]:
    """Tell that something long begins, and when it has ended how long it took."""
    say(f"== {text} …")
    start = time.monotonic()
    yield
    say(f"== {text}: {time.monotonic() - start:.1f} s")
