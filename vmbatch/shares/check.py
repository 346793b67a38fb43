"""Looking at the owner's directories with the owner's rights, never with root's."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace

from vmbatch.clock import Deadline
from vmbatch.errors import ProgramError
from vmbatch.job import Owner
from vmbatch.process import run
from vmbatch.shares.choose import Share, why_unfit
from vmbatch.shares.owner import as_owner

LOG = logging.getLogger(__name__)

# For each argument the real name of that directory, or nothing if it can't be entered.
_ENTER = r"""
for d; do
    if cd -P -- "$d" 2>/dev/null; then printf '%s\0' "$PWD"; else printf '\0'; fi
done
"""
_SECONDS = 20.0


def check_as_owner(
    shares: Sequence[Share], owner: Owner, deadline: Deadline | None = None
) -> tuple[Share, ...]:
    """Keep the shares whose directory the owner can enter, with its real name as `source`.

    A directory that is not there is left out with a note in the log: a job on the bare node
    would run without it too.

    Args:
        shares: what is wanted.
        owner: as whom to look.
        deadline: when to give up, such as on a file server that does not answer.

    Raises:
        ProgramError: the file system did not answer in time.
    """
    if not shares:
        return ()
    real = _real_names([share.source for share in shares], owner, deadline)
    home = next((r for s, r in zip(shares, real, strict=True) if r and s.tag == "home"), "")
    kept = []
    for share, name in zip(shares, real, strict=True):
        reason = why_unfit(name, owner, home) if name else "the owner can't enter it"
        if reason:
            LOG.warning("the guest does not get %s: %s", share.path, reason)
        else:
            kept.append(replace(share, source=name))
    return tuple(kept)


def _real_names(paths: list[str], owner: Owner, deadline: Deadline | None) -> list[str]:
    limit = (deadline or Deadline.after(_SECONDS)).within(_SECONDS)
    try:
        out = run(["/bin/sh", "-c", _ENTER, "sh", *paths], deadline=limit, **as_owner(owner))
    except ProgramError as error:
        raise ProgramError(
            f"could not look at the directories {', '.join(paths)} as {owner.name}: "
            f"{error.message}",
            hint="check that their file systems are mounted and answer on this node",
        ) from None
    return [os.fsdecode(name) for name in out.split(b"\0")[:-1]]
