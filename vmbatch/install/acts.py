"""What an installation does, as plain data: each act knows enough to be undone.

Paths are those of the installed system; a scratch root, where there is one, is put before them when
they are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Directory:
    """A directory that is not there yet; removed again when it is empty."""

    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PutFile:
    """A file of ours.

    Args:
        path: where.
        data: its content.
        mode: its mode.
        sites: whether the administrator may change it, so that it is kept once it was changed.
    """

    path: str
    data: bytes
    mode: int
    sites: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class PutLink:
    """A symbolic link of ours."""

    path: str
    target: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Generated:
    """A directory whose whole content is ours, though not known beforehand."""

    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Hook:
    """A link in ``mom_priv`` to a script of ours.

    Args:
        path: what the mom runs.
        target: where it leads.
        aside: whether the site's own script stood there and is kept as ``PATH.orig``.
    """

    path: str
    target: str
    aside: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class AddedText:
    """Text at the end of a file of the site's.

    Args:
        path: the file.
        text: what is added.
        created: whether the file was not there before.
        mtime: the file's time of modification before, in nanoseconds.
        size: its size before, bytes.
    """

    path: str
    text: str
    created: bool
    mtime: int
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedPassage:
    """A directory that everybody may now pass through.

    Args:
        path: the directory.
        before: its mode before.
    """

    path: str
    before: int


Act = Directory | PutFile | PutLink | Generated | Hook | AddedText | OpenedPassage


def place(root: Path, path: str) -> Path:
    """Return where `path` is when `root` stands for ``/``.

    >>> str(place(Path("/scratch"), "/etc/profile.d"))
    '/scratch/etc/profile.d'
    """
    return root / path.lstrip("/")
