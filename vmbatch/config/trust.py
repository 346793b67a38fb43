"""Whether a file is root's alone: what root reads or runs, nobody else may be able to change."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

_MOST_LINKS = 40
ROOT_ONLY = (0,)


def faults(path: Path, owners: Collection[int] = ROOT_ONLY) -> Iterator[str]:
    """Yield why others could change what is found under an absolute path.

    Every directory on the way, every link, and the file itself must belong to one of `owners` and
    must not be writable by group or others; a directory may be when it is sticky, since there
    nobody can replace what is not his.

    Args:
        path: where to look; links are followed one by one.
        owners: uids that are trusted.
    """
    here, links = "/", 0
    yield from _fault(here, os.lstat(here), owners)
    rest = list(reversed(path.parts[1:]))
    while rest:
        name = rest.pop()
        if name == "..":
            here = str(Path(here).parent)
            continue
        step = str(Path(here, name))
        try:
            found = os.lstat(step)
        except OSError as error:
            yield f"{step}: {error.strerror}"
            return
        yield from _fault(step, found, owners)
        if not stat.S_ISLNK(found.st_mode):
            here = step
            continue
        links += 1
        if links > _MOST_LINKS:
            yield f"{path}: too many links"
            return
        target = Path(os.readlink(step))  # noqa: PTH115 - one step, as text
        rest.extend(reversed(target.parts[1:] if target.is_absolute() else target.parts))
        here = "/" if target.is_absolute() else here


def _fault(path: str, found: os.stat_result, owners: Collection[int]) -> Iterator[str]:
    if found.st_uid not in owners:
        yield f"{path} belongs to uid {found.st_uid} instead of root"
    if stat.S_ISLNK(found.st_mode) or not found.st_mode & 0o022:
        return
    if not (stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX):
        yield f"{path} is writable by group or others"
