"""Which directories of the owner a guest gets, and by which ways: decided without touching them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

from vmbatch.errors import ConfigError, ImageError
from vmbatch.job import Owner

MODES = ("auto", "9p", "smb", "off")
WAYS = ("9p", "smb")

# A mount over these would break the guest, or show it what is the node's own.
_SYSTEM = (
    *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/lost+found"),
    *("/proc", "/run", "/sbin", "/sys", "/usr"),
)
# Below these the guest keeps its own files; a home there is still the owner's.
_SYSTEM_BUT_FOR_HOMES = ("/root", "/var")
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - names, no file is made there
_PARENTS = ("/", "/home", "/media", "/mnt", "/opt", "/srv", *_TEMPORARY)
_LONGEST_PATH = 1000  # bytes; the path travels percent-encoded in one line of guest.conf


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """One directory of the host that the guest gets.

    Args:
        tag: ``home`` or ``work``: its name for the server and in the guest.
        source: the directory on the host.
        path: the absolute path at which the guest has it; the host's own name for it.
    """

    tag: str
    source: str
    path: str


def wanted_shares(
    owner: Owner, workdir: str, *, home: bool, workdir_wanted: bool
) -> tuple[Share, ...]:
    """Choose the directories to share, an outer one before one that lies in it.

    What is not fit is left out; `why_unfit` tells the reason.

    Args:
        owner: whose directories they are.
        workdir: directory of submission: text of the submitter, may be empty.
        home: whether the site gives guests the home directory.
        workdir_wanted: whether the site gives guests the directory of submission.
    """
    found = []
    if home and not why_unfit(owner.home, owner):
        found.append(_share("home", owner.home))
    if workdir_wanted and workdir and not why_unfit(workdir, owner):
        work = _share("work", workdir)
        if not any(is_below(work.path, share.path) for share in found):
            found.append(work)
    return tuple(sorted(found, key=lambda share: share.path.count("/")))


def why_unfit(path: str, owner: Owner, home: str = "") -> str:
    """Return why `path` can't be shared, or an empty text if it can.

    Args:
        path: a directory, as somebody wrote it.
        owner: whose job it is.
        home: another name of the owner's home, such as what its links lead to.
    """
    if not path.startswith("/"):
        return "it is not an absolute path"
    if ".." in path.split("/"):
        return "it holds '..'"
    if not path.isprintable() or len(path.encode()) > _LONGEST_PATH:
        return f"it holds control characters or is longer than {_LONGEST_PATH} bytes"
    clean = _clean(path)
    homes = [_clean(name) for name in (owner.home, home) if name.startswith("/")]
    at_home = any(is_below(clean, name) for name in homes if name not in _PARENTS)
    if clean in _PARENTS or (clean in _SYSTEM_BUT_FOR_HOMES and not at_home):
        return "the guest has a directory of its own there"
    if _below_any(clean, _SYSTEM):
        return "it belongs to the system"
    if _below_any(clean, _SYSTEM_BUT_FOR_HOMES) and not (at_home or _below_any(clean, _TEMPORARY)):
        return "it belongs to the system"
    return ""


def ways(mode: str, image_shares: tuple[str, ...]) -> tuple[str, ...]:
    """Return the ways to offer to a guest, best first.

    Args:
        mode: the site's choice, one of `MODES`.
        image_shares: the ways that the image is known to have; empty if nothing is known of it.

    Raises:
        ConfigError: there is no such mode.
        ImageError: the image is known to have none of the ways that the site allows.
    """
    if mode not in MODES:
        raise ConfigError(
            f"{mode!r} is not a way to share directories", hint=f"choose one of {', '.join(MODES)}"
        )
    if mode == "off":
        return ()
    allowed = WAYS if mode == "auto" else (mode,)
    found = tuple(way for way in allowed if not image_shares or way in image_shares)
    if not found:
        raise ImageError(
            f"the image has no way to mount the owner's directories: it offers "
            f"{', '.join(image_shares)}, the site allows {', '.join(allowed)}",
            hint="take an image whose kernel has 9p or cifs, or ask the site to switch shares off",
        )
    return found


def is_below(path: str, top: str) -> bool:
    """Whether `path` is `top` or lies in it; both are absolute and normal.

    >>> is_below("/home/al/x", "/home/al"), is_below("/home/alice", "/home/al")
    (True, False)
    """
    return path == top or path.startswith(top.rstrip("/") + "/")


def _below_any(path: str, tops: Iterable[str]) -> bool:
    return any(is_below(path, top) for top in tops)


def _share(tag: str, path: str) -> Share:
    return Share(tag=tag, source=_clean(path), path=_clean(path))


def _clean(path: str) -> str:
    return "/" + posixpath.normpath(path).lstrip("/")
