"""Installing and uninstalling."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmbatch.errors import NodeError, SiteError
from vmbatch.install import layout, manifest
from vmbatch.install.acts import (
    Act,
    AddedText,
    Directory,
    Generated,
    Hook,
    OpenedPassage,
    PutFile,
    place,
)
from vmbatch.install.hooks import hooks, job_starter
from vmbatch.install.layout import Target
from vmbatch.install.manifest import Made, MadeFile
from vmbatch.install.perform import Owner, perform
from vmbatch.install.undo import undo

BuildVenv = Callable[[Path], None]
"""Makes the environment of an installation in a directory."""

ROOT_OWNER: Owner = (0, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What an installation is to do besides its files.

    Args:
        job_starter: whether to add ``$job_starter`` to the mom's configuration.
        passages: directories that were opened to QEMU.
    """

    job_starter: bool = False
    passages: tuple[OpenedPassage, ...] = ()


def manifest_path(target: Target) -> Path:
    """Return where the manifest of an installation is."""
    return place(target.root, f"{target.top}/{manifest.NAME}")


def plan(checkout: Path, target: Target, made: Sequence[Made], wishes: Wishes) -> tuple[Act, ...]:
    """Return all acts of an installation, in order; nothing is changed.

    The links in ``mom_priv`` come last: from then on jobs run through what was installed.

    Raises:
        SiteError: something of the site's is in the way.
    """
    files = (*layout.files(checkout, target), layout.site_file(target))
    acts: list[Act] = [*wishes.passages]
    acts += [act for act in files if not _is_the_sites(act, target.root, made)]
    acts.append(Generated(path=f"{target.top}/.venv"))
    _refuse_strangers(acts, target, made)
    directories = _directories((act.path for act in acts), target.root)
    last: list[Act] = list(hooks(target, made))
    if wishes.job_starter and (line := job_starter(target, made)):
        last.append(line)
    return (*directories, *acts, *last)


def install(
    checkout: Path,
    target: Target,
    wishes: Wishes,
    *,
    build_venv: BuildVenv,
    owner: Owner = ROOT_OWNER,
) -> tuple[Act, ...]:
    """Install, anew or over what an earlier run has left; returns what was done.

    Raises:
        SiteError: something of the site's is in the way; nothing was changed.
        VmbatchError: something failed on the way; a second run or an uninstall goes on from there.
    """
    file = manifest_path(target)
    old = manifest.read(file)
    acts = plan(checkout, target, old, wishes)
    new = [manifest.made_by(act) for act in acts]
    for act in acts:
        if isinstance(act, Directory) and file.is_relative_to(place(target.root, act.path)):
            perform(act, target.root, owner)
    merged = manifest.merge(old, new)
    manifest.write(file, merged, owner=owner)
    hooked = False
    for act in acts:
        if not hooked and _goes_live(act):
            build_venv(place(target.root, f"{target.top}/.venv"))
            hooked = True
        perform(act, target.root, owner)
    if not hooked:
        build_venv(place(target.root, f"{target.top}/.venv"))
    _forget_stale(old, new, merged, target, owner)
    return acts


def uninstall(target: Target, *, purge: bool = False) -> list[str]:
    """Take everything back that the manifest names; returns what had to be left.

    Raises:
        SiteError: nothing is installed there.
    """
    file = manifest_path(target)
    made = manifest.read(file)
    if not made:
        _remove_empty(file.parent)
        return []
    holding = [one for one in made if _holds(one, file, target.root)]
    left = [undo(one, target.root, purge=purge) for one in reversed(made) if one not in holding]
    file.unlink()
    left += [undo(one, target.root, purge=purge) for one in reversed(holding)]
    return [line for line in left if line]


def refuse_while_guests(root: Path, states: Iterable[Path]) -> None:
    """Refuse to remove vmbatch while jobs have guests.

    Raises:
        NodeError: they have.
    """
    for state in states:
        jobs = place(root, str(state)) / "jobs"
        names = sorted(path.name for path in jobs.iterdir()) if jobs.is_dir() else []
        if names:
            raise NodeError(
                f"{len(names)} jobs have guests, or left something, on this node: {names[0]} …",
                hint="wait for them, or: vmbatch reap; --force uninstalls all the same",
            )


def check_trust(target: Target) -> None:
    """Refuse a prefix that others than root can change: root runs what is in it.

    Raises:
        SiteError: a directory on the way there is not root's alone.
    """
    steps = [Path(target.prefix), *Path(target.prefix).parents]
    for step in steps[: len(steps) - 1] if target.root != Path("/") else steps:
        path = place(target.root, str(step))
        if not path.exists():
            continue
        found = path.stat()
        sticky = found.st_mode & 0o1000 and path != place(target.root, target.prefix)
        if found.st_uid != 0 or (found.st_mode & 0o022 and not sticky):
            raise SiteError(
                f"{path} can be changed by others than root, and root would run what is in it",
                hint=f"chown root {path}; chmod go-w {path}; or choose another --prefix",
            )


def _goes_live(act: Act) -> bool:
    return isinstance(act, Hook | AddedText)


def _is_the_sites(act: Act, root: Path, made: Sequence[Made]) -> bool:
    """Whether the administrator has a file of their own where this act would put one."""
    if not (isinstance(act, PutFile) and act.sites):
        return False
    path = place(root, act.path)
    if not os.path.lexists(path):
        return False
    known = [one.sha256 for one in made if isinstance(one, MadeFile) and one.path == act.path]
    return manifest.digest(path) not in known


def _refuse_strangers(acts: Sequence[Act], target: Target, made: Sequence[Made]) -> None:
    known = {one.path for one in made}
    for act in acts:
        below = act.path.startswith(f"{target.top}/")
        if below and act.path not in known and os.path.lexists(place(target.root, act.path)):
            raise SiteError(
                f"{place(target.root, act.path)} is there, and setup.sh did not put it there",
                hint="install to another --prefix, or move it out of the way",
            )


def _directories(paths: Iterable[str], root: Path) -> Iterator[Directory]:
    """Yield the directories that are missing, outer ones first."""
    wanted = {parent for path in paths for parent in Path(path).parents}
    for directory in sorted(wanted):
        if not place(root, str(directory)).exists():
            yield Directory(path=str(directory))


def _forget_stale(
    old: Sequence[Made], new: Sequence[Made], merged: Sequence[Made], target: Target, owner: Owner
) -> None:
    """Remove the files of an earlier version that this one has not."""
    current = {one.path for one in new}
    stale = [
        one
        for one in old
        if isinstance(one, MadeFile) and not one.sites and one.path not in current
    ]
    for one in stale:
        undo(one, target.root)
    if stale:
        kept = [one for one in merged if one not in stale]
        manifest.write(manifest_path(target), kept, owner=owner)


def _holds(made: Made, file: Path, root: Path) -> bool:
    return isinstance(made, Directory) and file.is_relative_to(place(root, made.path))


def _remove_empty(top: Path) -> None:
    try:
        top.rmdir()
    except OSError:
        raise SiteError(
            f"nothing of vmbatch is installed in {top}",
            hint="give the --prefix (and --root) that it was installed with",
        ) from None
