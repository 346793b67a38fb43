"""What an installation made, on disk before it is made: ``PREFIX/vmbatch/.manifest.json``.

A run that was killed has done part of what stands here. So every undo allows for an act that was
not done, and the next run of setup.sh begins from here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmbatch.errors import SiteError
from vmbatch.install.acts import (
    Act,
    AddedText,
    Directory,
    Generated,
    Hook,
    OpenedPassage,
    PutFile,
    PutLink,
)
from vmbatch.jobdir import write_file

NAME = ".manifest.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeFile:
    """A file that an installation put; see `PutFile`."""

    path: str
    sha256: str
    sites: bool


Made = Directory | MadeFile | PutLink | Generated | Hook | AddedText | OpenedPassage

_KINDS: dict[str, type[Any]] = {
    "directory": Directory,
    "file": MadeFile,
    "link": PutLink,
    "generated": Generated,
    "hook": Hook,
    "text": AddedText,
    "passage": OpenedPassage,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def digest(path: Path) -> str:
    """Return the sha256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def made_by(act: Act) -> Made:
    """Return what has to be known of an act to undo it."""
    if isinstance(act, PutFile):
        sha256 = hashlib.sha256(act.data).hexdigest()
        return MadeFile(path=act.path, sha256=sha256, sites=act.sites)
    return act


def merge(old: Sequence[Made], new: Iterable[Made]) -> tuple[Made, ...]:
    """Return the manifest of an installation over another: old things keep their first record.

    A file is recorded with its new content; all else as it was before the first installation.
    """
    merged = {(type(made), made.path): made for made in old}
    for made in new:
        key = (type(made), made.path)
        if isinstance(made, MadeFile | PutLink) or key not in merged:
            merged[key] = made
    return tuple(merged.values())


def read(path: Path) -> tuple[Made, ...]:
    """Return what an installation made; nothing where there is none.

    Raises:
        SiteError: the file is damaged.
    """
    try:
        records = json.loads(path.read_text())
        return tuple(_KINDS[record.pop("kind")](**record) for record in records)
    except FileNotFoundError:
        return ()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SiteError(
            f"{path} is damaged: {error!r}",
            hint="put it back from a backup, or remove by hand what setup.sh installed",
        ) from None


def write(path: Path, made: Sequence[Made], *, owner: tuple[int, int]) -> None:
    """Put the manifest in place, whole.

    Raises:
        NodeError: it can't be written.
    """
    records = [{"kind": _NAMES[type(one)], **dataclasses.asdict(one)} for one in made]
    data = json.dumps(records, indent=1).encode() + b"\n"
    write_file(path, data, mode=0o600, uid=owner[0], gid=owner[1])
