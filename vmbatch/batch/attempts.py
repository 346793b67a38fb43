"""How often a job was given back to the batch system: a bound on what Torque repeats for ever.

One file a job under ``STATE/attempts``, which outlives the epilogues that follow each attempt.
"""

from __future__ import annotations

import time
from pathlib import Path

from vmbatch.errors import VmbatchError
from vmbatch.jobdir import make_directories, write_file

_STALE = 7 * 24 * 3600.0
"""Seconds after which a count is forgotten: the job went on to another node."""


def may_requeue(state: Path, run: Path, slug: str, limit: int) -> bool:
    """Count one more failed attempt and tell whether the job may have another.

    Where the count can't be kept the answer is no: without it the job would go round for ever.
    """
    path = state / "attempts" / slug
    try:
        make_directories(state, run)
        count = _read(path) + 1
        if count > limit:
            return False
        write_file(path, b"%d\n" % count)
        _forget_stale(path.parent)
    except (OSError, VmbatchError):
        return False
    return True


def forget(state: Path, slug: str) -> None:
    """Begin at nought again; harmless where nothing was counted."""
    (state / "attempts" / slug).unlink(missing_ok=True)


def _read(path: Path) -> int:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _forget_stale(directory: Path) -> None:
    now = time.time()
    for path in directory.iterdir():
        if now - path.stat().st_mtime > _STALE:
            path.unlink(missing_ok=True)
