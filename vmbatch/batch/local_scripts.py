"""Which scripts a mom runs around a job, whether it runs them, and what their end means."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from vmbatch.job import Owner


class Found(Enum):
    """What a mom makes of a script's file."""

    MISSING = auto()
    REFUSED = auto()
    GOOD = auto()


class Verdict(Enum):
    """What becomes of a job after a script before it."""

    GO_ON = auto()
    ABORT = auto()
    RETRY = auto()


ABORTED = -2
RETRIED = -14
WALLTIME = -11


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """One script of a mom.

    Args:
        path: where it is, or a link to it.
        as_owner: whether it runs as the job's owner.
        of_owner: whether it must belong to the job's owner instead of root.
    """

    path: Path
    as_owner: bool = False
    of_owner: bool = False


def prologues(mom_priv: Path, resources: Mapping[str, str]) -> tuple[Script, ...]:
    """Return the scripts before a job on its first node, in order."""
    return (
        Script(path=mom_priv / "prologue"),
        Script(path=mom_priv / "prologue.user", as_owner=True),
        *_own(resources.get("prologue")),
    )


def epilogues(mom_priv: Path, resources: Mapping[str, str]) -> tuple[Script, ...]:
    """Return the scripts after a job on its first node, in order."""
    return (
        *_own(resources.get("epilogue")),
        Script(path=mom_priv / "epilogue.user", as_owner=True),
        Script(path=mom_priv / "epilogue"),
    )


def _own(path: str | None) -> tuple[Script, ...]:
    return (Script(path=Path(path), as_owner=True, of_owner=True),) if path else ()


def find(script: Script, owner: Owner) -> Found:
    """Look at a script's file as a mom does: at the end of all links.

    A script that is missing, or whose link leads nowhere, is skipped without a word.
    """
    try:
        found = script.path.stat()
    except OSError:
        return Found.MISSING
    mode = found.st_mode
    needed = 0o505 if script.as_owner and not script.of_owner else 0o500
    good = (
        stat.S_ISREG(mode)
        and found.st_uid == (owner.uid if script.of_owner else 0)
        and mode & needed == needed
        and not mode & 0o022
    )
    return Found.GOOD if good else Found.REFUSED


def judge(returncode: int, *, timed_out: bool = False, interactive: bool = False) -> Verdict:
    """Tell what the end of a script before the job means.

    Args:
        returncode: as `subprocess` has it: negative for a signal.
        timed_out: whether the mom killed it for its time.
        interactive: whether the job is a terminal: then there is no other try.

    >>> judge(-9)
    <Verdict.GO_ON: 1>
    """
    if not timed_out and returncode <= 0:
        return Verdict.GO_ON
    if interactive or (returncode == 1 and not timed_out):
        return Verdict.ABORT
    return Verdict.RETRY
