"""The end of a guest's console, fit to be printed: the guest writes it, so it is not trusted."""

from __future__ import annotations

import os
import re
from pathlib import Path

_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|[@-_])")
_BYTES = 8192


def last_lines(path: Path, count: int = 12) -> tuple[str, ...]:
    """Return the last lines that the guest printed, without control characters.

    Args:
        path: the console's log; it need not be there.
        count: how many lines at most.
    """
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _BYTES))
            text = stream.read().decode(errors="replace")
    except OSError:
        return ()
    lines = (_plain(line) for line in text.splitlines())
    return tuple(line for line in lines if line)[-count:]


def _plain(line: str) -> str:
    without = _ESCAPES.sub("", line)
    return "".join(char for char in without if char.isprintable()).rstrip()[:200]
