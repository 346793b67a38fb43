"""Being told to stop: the signal becomes an error at the next wait, and so undoes what was made."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from vmbatch.errors import CancelledError


@contextmanager
def cancellable() -> Iterator[None]:
    """Turn SIGTERM and SIGINT into `CancelledError` for the body."""
    before = {number: signal.signal(number, _cancel) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def _cancel(_number: int, _frame: object) -> NoReturn:
    raise CancelledError(
        "the job was ended while its guest was made", hint="submit it again if that was not meant"
    )
