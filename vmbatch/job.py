"""What a batch system says about a job."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from vmbatch.errors import SiteError
from vmbatch.jobid import check_job_id as check_job_id
from vmbatch.jobid import slug_of as slug_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """The user whose job it is, as the node's own user database knows them.

    Args:
        name: login name.
        uid: numeric user id.
        gid: numeric id of the primary group.
        group: name of the primary group.
        groups: all groups as (name, gid), the primary one among them.
        home: home directory on the host.
        shell: login shell.
    """

    name: str
    uid: int
    gid: int
    group: str
    groups: tuple[tuple[str, int], ...]
    home: str
    shell: str

    @property
    def gids(self) -> tuple[int, ...]:
        """Numeric ids of all groups."""
        return tuple(gid for _, gid in self.groups)


def find_owner(name: str) -> Owner:
    """Look a user up by exact login name.

    Raises:
        SiteError: the node does not know the user.
    """
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise SiteError(
            f"the node has no user named {name!r}",
            hint="check the node's user database (getent passwd)",
        ) from None
    groups = tuple((_group_name(gid), gid) for gid in os.getgrouplist(name, entry.pw_gid))
    return Owner(
        name=entry.pw_name,
        uid=entry.pw_uid,
        gid=entry.pw_gid,
        group=_group_name(entry.pw_gid),
        groups=groups,
        home=entry.pw_dir,
        shell=entry.pw_shell or "/bin/sh",
    )


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid{gid}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One job on one node.

    Args:
        system: name of the batch system's adapter, such as ``torque``.
        id: the batch system's own id, such as ``186[0].vm``.
        name: the job's name: free text of the submitter.
        owner: whose job it is.
        queue: where it was queued.
        account: account string, may be empty.
        resources: the resource list as the batch system gives it: text of the submitter.
        node_rank: 0 on the mother superior, 1 and up on sisters.
        workdir: directory of submission as the batch system reports it: text of the submitter.
        script: the job script's path on the node, or None for an interactive job.
        cores: the job's cores on this node, None where it asked for no number of them.
        memory_mib: the job's memory on this node in MiB, None where it asked for no amount.
    """

    system: str
    id: str
    name: str
    owner: Owner
    queue: str = ""
    account: str = ""
    resources: str = ""
    node_rank: int = 0
    workdir: str = ""
    script: Path | None = None
    cores: int | None = None
    memory_mib: int | None = None

    @property
    def slug(self) -> str:
        """A name for files, domains and locks, one to one with the id."""
        return slug_of(self.id)
