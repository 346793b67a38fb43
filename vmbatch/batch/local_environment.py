"""The environment of a mom's scripts and of a job: what Torque sets, and nothing else."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from vmbatch.batch.local_resources import Nodes, walltime
from vmbatch.batch.local_submission import Submission

BASE = {"LANG": "C.UTF-8", "PATH": "/bin:/usr/bin"}

# What a user's -v brings into the environment of root's scripts, word for word.
_INJECTED = ("PBS_O_WORKDIR", "PBS_SCHED_HINT", "PBS_CPUCLOCK")


def script_environment(
    submission: Submission, *, base: Mapping[str, str], host: str, hosts_file: str, rank: int = 0
) -> dict[str, str]:
    """Return the environment of a prologue or an epilogue.

    Args:
        submission: the job.
        base: the node's ``pbs_environment``.
        host: the mother superior's name.
        hosts_file: the list of hosts; only the mother superior has one.
        rank: the node's place among the job's nodes.
    """
    environment = {**BASE, **base, "PBS_MSHOST": host, "PBS_NODENUM": str(rank)}
    if rank == 0:
        environment["PBS_NODEFILE"] = hosts_file
    environment.update(_node_variables(submission))
    environment["PBS_O_WORKDIR"] = submission.workdir
    for name, value in submission.variables.items():
        if name in _INJECTED or name.startswith("MOAB_"):
            environment[name] = value
    return environment


def job_environment(
    submission: Submission,
    *,
    job_id: str,
    base: Mapping[str, str],
    host: str,
    hosts_file: str,
    term: str = "",
) -> dict[str, str]:
    """Return the environment of the job's shell; the owner's ``-v`` comes last.

    Args:
        submission: the job.
        job_id: its id.
        base: the node's ``pbs_environment``.
        host: this node.
        hosts_file: the list of its hosts.
        term: ``TERM`` of an interactive job.
    """
    owner = submission.owner
    shell = submission.shell or owner.shell
    environment = {
        **BASE,
        **base,
        "HOME": owner.home,
        "LOGNAME": owner.name,
        "USER": owner.name,
        "SHELL": shell,
        "PBS_ENVIRONMENT": "PBS_INTERACTIVE" if submission.interactive else "PBS_BATCH",
        "PBS_JOBID": job_id,
        "PBS_JOBNAME": submission.name,
        "PBS_QUEUE": submission.queue,
        "PBS_SERVER": host,
        "PBS_NODEFILE": hosts_file,
        "PBS_GPUFILE": hosts_file + "gpu",
        "PBS_MICFILE": hosts_file + "mic",
        "PBS_NODENUM": "0",
        "PBS_VNODENUM": "0",
        "PBS_TASKNUM": "1",
        "PBS_MOMPORT": "15003",
        "PBS_VERSION": "TORQUE-6.1.3",
        "PBS_JOBCOOKIE": secrets.token_hex(16).upper(),
        "PBS_WALLTIME": str(walltime(submission.resources)),
        "PBS_NP": "1",
        "PBS_NUM_NODES": "1",
        "PBS_NUM_PPN": "1",
        **_node_variables(submission),
        "PBS_O_HOME": owner.home,
        "PBS_O_HOST": host,
        "PBS_O_LANG": BASE["LANG"],
        "PBS_O_LOGNAME": owner.name,
        "PBS_O_PATH": BASE["PATH"],
        "PBS_O_QUEUE": submission.queue,
        "PBS_O_SERVER": host,
        "PBS_O_SHELL": owner.shell,
        "PBS_O_WORKDIR": submission.workdir,
    }
    if not submission.interactive:
        environment["ENVIRONMENT"] = "BATCH"
    if term:
        environment["TERM"] = term
    return {**environment, **submission.variables}


def _node_variables(submission: Submission) -> dict[str, str]:
    """Return what Torque tells of the nodes; wrong for a host's name, as Torque is."""
    text = submission.resources.get("nodes")
    if not text:
        return {}
    nodes = Nodes.parse(text)
    named = not text.split(":")[0].isdecimal()
    return {
        "PBS_RESOURCE_NODES": text,
        "PBS_NUM_NODES": "0" if named else str(nodes.count),
        "PBS_NUM_PPN": "1" if named else str(nodes.ppn),
        "PBS_NP": str(nodes.count * nodes.ppn),
    }
