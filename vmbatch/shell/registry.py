"""What the prologue said about a job: it has a guest, or it runs bare."""

from __future__ import annotations

import os
import stat

from vmbatch.errors import SiteError

ROOT = 0
_LIMIT = 4096


class Entry:
    """One line of the registry.

    Args:
        jobdir: directory of the job's guest, or None for a job that runs bare.
    """

    __slots__ = ("jobdir",)

    def __init__(self, jobdir: str | None) -> None:
        self.jobdir = jobdir


def find(run: str, slug: str, *, trusted: int = ROOT) -> Entry | None:
    """Return what the registry says about a job, or None where it says nothing.

    Args:
        run: directory of the registry, such as `/run/vmbatch`.
        slug: the job's word.
        trusted: uid that must own the entry. A user may name any directory as `run`; a file of
            root's they can't make.

    Raises:
        SiteError: the entry is not one that the prologue wrote.
    """
    path = f"{run}/jobs/{slug}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _untrusted(path, error.strerror) from None
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise _untrusted(path, "it is not a plain file")
        if facts.st_uid != trusted or facts.st_mode & 0o022:
            raise _untrusted(path, "others than root can write it")
        return _parse(path, os.read(fd, _LIMIT))
    finally:
        os.close(fd)


def _parse(path: str, text: bytes) -> Entry:
    if text == b"bare\n":
        return Entry(None)
    word, _, rest = os.fsdecode(text).partition(" ")
    jobdir = rest.removesuffix("\n")
    if word == "guest" and jobdir.startswith("/") and rest.endswith("\n"):
        return Entry(jobdir)
    raise _untrusted(path, "it says neither `bare` nor `guest DIRECTORY`")


def _untrusted(path: str, cause: str | None) -> SiteError:
    return SiteError(
        f"the registry entry {path} can't be used: {cause}",
        hint="the administrator removes it with: vmbatch reap; then submit the job again",
    )
