"""The arguments and the environment that Torque gives to a script, as values."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmbatch.errors import NodeError
from vmbatch.job import Job, check_job_id, find_owner

_HINT = (
    "Torque gives 8 arguments to a prologue and 11 to an epilogue; is the script run by pbs_mom?"
)

_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_MEMORY = re.compile(r"(?:^|,)p?mem=(\d{1,15})([kmgt]?)b?(?=,|$)", re.IGNORECASE)

RETRY = -14
"""An epilogue's exit status of a job whose prologue failed and which is queued again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrologueCall:
    """A prologue's arguments, in Torque's order.

    Args:
        job_id: ``17.server``, of an array ``17[3].server``.
        user: login name of the owner.
        group: name of the owner's group.
        name: the job's name: free text.
        resources: the resource list: free text.
        queue: the queue.
        account: the account, often empty.
        script: the job's script; of an interactive job it does not exist.
    """

    job_id: str
    user: str
    group: str
    name: str
    resources: str
    queue: str
    account: str
    script: Path

    @property
    def interactive(self) -> bool:
        """Whether there is no script: the job is a terminal of its owner's."""
        return not self.script.exists()


@dataclass(frozen=True, kw_only=True, slots=True)
class EpilogueCall:
    """What we use of an epilogue's arguments.

    Args:
        job_id: as of the prologue.
        exit_status: Torque's: the job's own, 256 + signal, or negative (`RETRY`).
    """

    job_id: str
    exit_status: int


def parse_prologue(arguments: Sequence[str]) -> PrologueCall:
    """Name the 8 arguments of a prologue.

    Raises:
        NodeError: there are fewer, or the first is not a job id.
    """
    if len(arguments) < 8:
        raise NodeError(f"the prologue was called with {len(arguments)} arguments", hint=_HINT)
    job_id, user, group, name, resources, queue, account, script = arguments[:8]
    return PrologueCall(
        job_id=check_job_id(job_id),
        user=user,
        group=group,
        name=name,
        resources=resources,
        queue=queue,
        account=account,
        script=Path(script),
    )


def parse_epilogue(arguments: Sequence[str]) -> EpilogueCall:
    """Name those of the 11 arguments of an epilogue that matter.

    Raises:
        NodeError: there are fewer, or the first is not a job id.
    """
    if len(arguments) < 11:
        raise NodeError(f"the epilogue was called with {len(arguments)} arguments", hint=_HINT)
    try:
        status = int(arguments[9])
    except ValueError:
        status = 0
    return EpilogueCall(job_id=check_job_id(arguments[0]), exit_status=status)


def to_job(call: PrologueCall, *, environ: Mapping[str, str], system: str) -> Job:
    """Make the job of a prologue's call.

    Raises:
        SiteError: the node does not know the owner.
    """
    return Job(
        system=system,
        id=call.job_id,
        name=call.name,
        owner=find_owner(call.user),
        queue=call.queue,
        account=call.account,
        resources=call.resources,
        node_rank=node_rank(environ),
        workdir=environ.get("PBS_O_WORKDIR", ""),
        script=None if call.interactive else call.script,
        cores=cores_of(environ),
        memory_mib=memory_of(call.resources),
    )


def cores_of(environ: Mapping[str, str]) -> int | None:
    """Return the job's cores on this node, None where it asked for no number of them."""
    text = environ.get("PBS_NP", "")
    return int(text) if text.isdecimal() and int(text) > 0 else None


def memory_of(resources: str) -> int | None:
    """Return the job's memory in MiB; of several entries the least, since text can be spoofed.

    >>> memory_of("nodes=1,mem=512mb,other=x")
    512
    """
    found = [int(count) << _UNITS[unit.lower()] for count, unit in _MEMORY.findall(resources)]
    return max(1, min(found) >> 20) if found else None


def node_rank(environ: Mapping[str, str]) -> int:
    """Return this node's place among the job's nodes; 0 is the mother superior."""
    text = environ.get("PBS_NODENUM", "0")
    return int(text) if text.isdecimal() else 0


def hosts(job_id: str, *, mom_home: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the job's hosts without repetition; empty where the node has no list of them.

    The mom's own file is read: the numbers in the environment are wrong for some requests.
    """
    listed = environ.get("PBS_NODEFILE", "")
    for path in (mom_home / "aux" / job_id, Path(listed) if listed else None):
        if path is not None and path.is_file():
            return tuple(dict.fromkeys(os.fsdecode(path.read_bytes()).split()))
    return ()
