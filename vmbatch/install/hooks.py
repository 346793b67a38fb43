"""The links in ``mom_priv``: which are to be made, and what must not be touched."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from vmbatch.errors import SiteError
from vmbatch.install.acts import AddedText, Hook, place
from vmbatch.install.layout import Target
from vmbatch.install.manifest import Made

NAMES = (
    "prologue",
    "prologue.parallel",
    "epilogue",
    "epilogue.parallel",
    "epilogue.precancel",
)


def hooks(target: Target, made: Sequence[Made]) -> Iterator[Hook]:
    """Yield the links to be made; nothing where the node has no ``mom_priv``.

    Args:
        target: where to install.
        made: what an earlier installation recorded.

    Raises:
        SiteError: a script of the site's would be lost or run twice.
    """
    if not place(target.root, target.mom_priv).is_dir():
        return
    asides = {one.path for one in made if isinstance(one, Hook) and one.aside}
    for name in NAMES:
        path = f"{target.mom_priv}/{name}"
        hook = f"{target.top}/scripts/{name}"
        aside = _needs_aside(target.root, path, hook, recorded=path in asides)
        yield Hook(path=path, target=hook, aside=aside)


def _needs_aside(root: Path, path: str, hook: str, *, recorded: bool) -> bool:
    """Whether a script of the site's stands at `path`, to be kept as ``PATH.orig``."""
    here = place(root, path)
    orig = here.with_name(f"{here.name}.orig")
    if is_link_to(here, hook):
        return False
    there = os.path.lexists(here)
    if there and _is_ours(root, here):
        raise SiteError(
            f"{here} leads to another copy of vmbatch",
            hint=f"remove that link, or uninstall that copy, then install: ls -l {here}",
        )
    if os.path.lexists(orig) and not recorded:
        raise SiteError(
            f"{orig} is there already, and vmbatch would run it as the site's own {here.name}",
            hint="give it another name if it is not in use, or put it back in its place",
        )
    if there and os.path.lexists(orig) and not same_file(here, orig):
        raise SiteError(
            f"both {here} and {orig} are scripts of the site's",
            hint=f"keep the one that is wanted as {here}, and remove the other",
        )
    return there


def job_starter(target: Target, made: Sequence[Made]) -> AddedText | None:
    """Return the line that makes the mom start jobs by `remoteshell`; None where it is there.

    Raises:
        SiteError: there is no mom, or it has another job starter.
    """
    path = f"{target.mom_priv}/config"
    line = job_starter_line(target)
    if any(isinstance(one, AddedText) and one.path == path for one in made):
        return _again(target, path, line, made)
    here = place(target.root, path)
    if not here.parent.is_dir():
        raise SiteError(
            f"there is no {here.parent} to configure", hint="give the place by --torque-home"
        )
    text = here.read_text(errors="surrogateescape") if here.exists() else ""
    present = [words for words in map(str.split, text.splitlines()) if words[:1] == [_STARTER]]
    if any(words == line.split() for words in present):
        return None
    if present:
        raise SiteError(
            f"{here} has another job starter: {' '.join(present[-1])}",
            hint=f'have it end in: exec {target.top}/scripts/remoteshell "$@"',
        )
    found = here.stat() if here.exists() else None
    return AddedText(
        path=path,
        text=line if not text or text.endswith("\n") else f"\n{line}",
        created=found is None,
        mtime=found.st_mtime_ns if found else 0,
        size=found.st_size if found else 0,
    )


_STARTER = "$job_starter"


def job_starter_line(target: Target) -> str:
    """Return the line for ``mom_priv/config``."""
    return f"{_STARTER} {target.top}/scripts/remoteshell\n"


def _again(target: Target, path: str, line: str, made: Sequence[Made]) -> AddedText | None:
    """Return the recorded line, where a killed run did not come to write it."""
    here = place(target.root, path)
    text = here.read_text(errors="surrogateescape") if here.exists() else ""
    if line.split() in [words.split() for words in text.splitlines()]:
        return None
    return next(one for one in made if isinstance(one, AddedText) and one.path == path)


def is_link_to(path: Path, target: str) -> bool:
    """Whether there is a symbolic link with just this target."""
    return path.is_symlink() and str(path.readlink()) == target


def same_file(one: Path, other: Path) -> bool:
    """Whether two names are of one file, links not followed."""
    return os.path.samestat(one.lstat(), other.lstat())


def _is_ours(root: Path, path: Path) -> bool:
    """Whether a link leads to this script of some copy of vmbatch."""
    if not path.is_symlink():
        return False
    target = str(path.readlink())
    resolved = place(root, target) if target.startswith("/") else path.parent / target
    return (resolved.parents[1] / "vmbatch" / "install").is_dir()
