"""The arguments that make a child process the owner's."""

from __future__ import annotations

import os
from typing import TypedDict

from vmbatch.job import Owner


class Identity(TypedDict, total=False):
    """User, group and supplementary groups for a child process."""

    user: int
    group: int
    groups: tuple[int, ...]


def as_owner(owner: Owner) -> Identity:
    """Return what turns a child of root into the owner's; nothing where we are the owner."""
    if os.geteuid() == owner.uid and owner.uid != 0:
        return {}
    return {"user": owner.uid, "group": owner.gid, "groups": owner.gids}
