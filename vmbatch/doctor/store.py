"""Checks of what is kept on the node: images, and what jobs left."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from vmbatch.doctor.finding import Finding, fail, ok, warn
from vmbatch.errors import VmbatchError

_BUILD = "vmbatch image build tiny"


def check_images(root: Path, names: Callable[[], Sequence[str]]) -> Finding:
    """Tell whether the image store can be read, and has an image.

    Args:
        root: the store.
        names: lists it.
    """
    try:
        found = names()
    except VmbatchError as error:
        return fail("images", error.message, error.hint)
    except OSError as error:
        return fail("images", f"{root}: {error.strerror}", f"see: ls -ld {root}")
    if not found:
        return fail("images", f"{root} has no image", _BUILD)
    return ok("images", f"{root}: {', '.join(found)}")


def check_blobs(faults: Iterable[tuple[Path, str]]) -> Finding:
    """Tell whether nobody can change an image that guests stand on.

    Args:
        faults: blobs, and what is wrong with each.
    """
    found = list(faults)
    if not found:
        return ok("blobs", "root's, and read-only")
    path, problem = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return fail("blobs", f"{path} {problem}{more}", f"chown root: {path}; chmod 444 {path}")


def blob_faults(root: Path, *, owner: int = 0) -> Iterator[tuple[Path, str]]:
    """Yield the blobs of a store that are not as the store made them.

    Args:
        root: the store.
        owner: uid that must own them; anything but 0 is for tests.
    """
    for path in sorted((root / "blobs").glob("*/*/*")):
        found = path.lstat()
        if found.st_uid != owner:
            yield path, f"belongs to uid {found.st_uid}"
        elif stat.S_IMODE(found.st_mode) != 0o444:
            yield path, f"has mode {stat.S_IMODE(found.st_mode):o}"


def check_leftovers(find: Callable[[], Sequence[str]]) -> Finding:
    """Tell whether jobs that are gone left something on the node.

    Args:
        find: names what they left.
    """
    try:
        found = find()
    except VmbatchError as error:
        return warn("leftovers", f"can't be told: {error.message}", error.hint or "see above")
    if not found:
        return ok("leftovers", "none")
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return warn("leftovers", f"{found[0]}{more}", "vmbatch reap")
