"""`vmbatch local run`: the embedded batch system, one mom on this machine."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import socket
import sys
from pathlib import Path
from typing import Any

from vmbatch.batch.local_environment import BASE
from vmbatch.batch.local_output import write_all
from vmbatch.batch.local_resources import Nodes, QsubError
from vmbatch.batch.local_run import Ran, run_job
from vmbatch.batch.local_spool import Spool
from vmbatch.batch.local_submission import (
    Options,
    Submission,
    check_name,
    check_shell,
    parse_options,
    script_options,
)
from vmbatch.cli.root import require_root
from vmbatch.config import Site
from vmbatch.errors import SiteError, VmbatchError
from vmbatch.job import Owner, find_owner, slug_of
from vmbatch.jobdir import JobDir

_TIMING_WIDTH = 14


def add_parser(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("local", help="run jobs on this machine, without a cluster")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    run = actions.add_parser(
        "run",
        help="run one job, as a Torque node would",
        description="Runs a job's prologue, the job, and its epilogue as Torque's pbs_mom does. "
        "Output and exit status of the job become this command's own; ending this command deletes "
        "the job. A job without -l walltime=… ends after one hour.",
    )
    run.add_argument("-l", dest="resources", metavar="RESOURCES", action="append", default=[],
                     help="as of qsub, other= included; may be repeated")  # fmt: skip
    run.add_argument("-N", dest="name", metavar="NAME", help="the job's name")
    run.add_argument("-q", dest="queue", metavar="QUEUE", help="the queue it pretends to be in")
    run.add_argument("-v", dest="variables", metavar="VARS", action="append", default=[],
                     help="NAME=VALUE,… for the job's environment")  # fmt: skip
    run.add_argument("-A", dest="account", metavar="ACCOUNT", help="account string")
    run.add_argument("-d", dest="directory", metavar="DIR", help="where it runs; default: home")
    run.add_argument("-S", dest="shell", metavar="SHELL", help="the shell it is started with")
    run.add_argument("-j", dest="join", choices=("oe", "eo", "n"), help="join its two outputs")
    run.add_argument("-u", dest="user", metavar="USER", help="whose job it is; default: whoever "
                     "called sudo, or the script's owner, or the site's local.user")  # fmt: skip
    run.add_argument("--stdin", action="store_true", help="the job reads our standard input")
    run.add_argument("-I", dest="interactive", action="store_true", help="a terminal, no script")
    run.add_argument("--timings", action="store_true", help="print the phases and their seconds")
    run.add_argument("--attempts", type=int, default=3, metavar="N",
                     help="how often a job may be tried whose prologue sends it back")  # fmt: skip
    run.add_argument("--kill-delay", type=float, metavar="SECONDS",
                     help="between TERM and KILL")  # fmt: skip
    run.add_argument("--job-id", help=argparse.SUPPRESS)
    run.add_argument("--hosts", help=argparse.SUPPRESS)
    run.add_argument("script", nargs="?", metavar="SCRIPT", help="a file, or - for standard input")
    run.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGS", help="of the script")
    run.set_defaults(run=_run)


def _run(arguments: argparse.Namespace, site: Site) -> int:
    require_root("vmbatch local run")
    try:
        submission = _submission(arguments, site)
    except QsubError as error:
        _say(error.message, f"hint: {error.hint}")
        return error.status
    spool = Spool(site.local.home)
    spool.prepare(site.paths.run, _node_environment())
    ran = run_job(
        submission,
        spool=spool,
        hosts=_hosts(arguments, submission),
        guest_seconds=lambda job_id: _guest_seconds(job_id, site),
        job_id=arguments.job_id,
        attempts=arguments.attempts,
        kill_delay=site.local.kill_delay if arguments.kill_delay is None else arguments.kill_delay,
    )
    _say(*ran.notes)
    if arguments.timings:
        _print_timings(ran)
    return ran.status


def _submission(arguments: argparse.Namespace, site: Site) -> Submission:
    script = None if arguments.interactive else _read_script(arguments)
    owner = _owner(arguments, site)
    environ = dict(os.environ)
    words = [word for text in arguments.resources for word in ("-l", text)]
    words += [word for text in arguments.variables for word in ("-v", text)]
    given = Options(
        name=check_name(arguments.name) if arguments.name is not None else None,
        queue=arguments.queue,
        account=arguments.account,
        directory=arguments.directory,
        shell=check_shell(arguments.shell) if arguments.shell is not None else None,
        join=arguments.join,
        arguments=shlex.join(arguments.arguments) or None,
    ).over(parse_options(words, environ))
    options = given.over(script_options(script or b"", environ))
    return Submission(
        owner=owner,
        script=script,
        name=options.name or _default_name(arguments.script),
        queue=options.queue or "batch",
        account=options.account or "",
        resources=_runnable(options.resources),
        variables=options.variables,
        arguments=options.arguments or "",
        directory=options.directory,
        shell=options.shell,
        join=options.join or "n",
        workdir=str(Path.cwd()),
        own_input=arguments.stdin,
    )


def _runnable(resources: Any) -> dict[str, str]:
    nodes = resources.get("nodes")
    if nodes and Nodes.parse(nodes).count > 1:
        raise QsubError(
            f"qsub: submit error (cannot locate feasible nodes for nodes={nodes}: there is one)",
            status=190,
        )
    return dict(resources)


def _read_script(arguments: argparse.Namespace) -> bytes:
    if arguments.script is None:
        raise SiteError("no job script was given", hint="vmbatch local run [OPTIONS] SCRIPT [ARGS]")
    if arguments.script == "-":
        if arguments.stdin:
            raise SiteError(
                "standard input can't be both the script and what the job reads",
                hint="give the script as a file, or leave --stdin out",
            )
        return sys.stdin.buffer.read()
    try:
        return Path(arguments.script).read_bytes()
    except OSError as error:
        raise SiteError(
            f"can't read the job script {arguments.script}: {error.strerror}",
            hint="give the path of a script",
        ) from error


def _default_name(script: str | None) -> str:
    return "STDIN" if script in (None, "-") else Path(str(script)).name.replace(" ", "_")


def _owner(arguments: argparse.Namespace, site: Site) -> Owner:
    name = arguments.user or os.environ.get("SUDO_USER") or _script_owner(arguments.script)
    if not name or (name == "root" and not arguments.user):
        name = site.local.user or ""
    owner = _find(name) if name else None
    if owner is None:
        raise SiteError(
            f"there is no ordinary user {name!r} to run the job as" if name else
            "no ordinary user is known to run the job as",
            hint="name one with -u USER, or set local.user in the site file",
        )  # fmt: skip
    if owner.uid == 0:
        raise SiteError("a job can't be root's", hint="name an ordinary user with -u USER")
    return owner


def _find(name: str) -> Owner | None:
    try:
        return find_owner(name)
    except VmbatchError:
        return None


def _script_owner(script: str | None) -> str:
    if script in (None, "-"):
        return ""
    path = Path(str(script))
    try:
        return path.owner() if path.stat().st_uid != 0 else ""
    except (OSError, KeyError):
        return ""


def _node_environment() -> dict[str, str]:
    """Return what the site adds to every job's environment; our scripts read their site file so."""
    site_file = os.environ.get("VMBATCH_CONFIG")
    return {**BASE, **({"VMBATCH_CONFIG": site_file} if site_file else {})}


def _hosts(arguments: argparse.Namespace, submission: Submission) -> tuple[str, ...]:
    if arguments.hosts:
        return tuple(arguments.hosts.split(","))
    host = socket.gethostname().split(".")[0]
    return (host,) * Nodes.parse(submission.resources.get("nodes") or "1").ppn


def _guest_seconds(job_id: str, site: Site) -> list[tuple[str, float]]:
    place = JobDir(site.paths.state, site.paths.run, slug_of(job_id))
    try:
        return [(str(name), float(took)) for name, took in json.loads(place.timings.read_bytes())]
    except (OSError, ValueError, TypeError):
        return []


def _print_timings(ran: Ran) -> None:
    width = max((len(name) for name, _ in ran.seconds), default=0)
    _say(f"job {ran.job_id}")
    for name, seconds in ran.seconds:
        _say(f"  {name:<{max(width, _TIMING_WIDTH)}} {seconds:9.3f} s")


def _say(*lines: str) -> None:
    for line in lines:
        write_all(sys.stderr.fileno(), os.fsencode(f"vmbatch local: {line}\n"))
