"""How remoteshell was called: by a batch system, by its wrapper, or by a person."""

from __future__ import annotations

import os
import stat

from vmbatch.errors import RequestError, VmbatchError
from vmbatch.jobid import check_job_id

USAGE = """\
usage: remoteshell JOBID [COMMAND [ARGUMENT...]]   enter a running job, or run a command in it
       remoteshell SHELL | COMMAND ARGUMENT...     as the job starter of a batch system"""

DEFAULT_RUN = "/run/vmbatch"

# Ways in.
SHELL = "shell"  # the job's login shell: the script's path on stdin, or a terminal
TASK = "task"  # a further process of the job, such as of pbsdsh
WRAPPED = "wrapped"  # the script itself, from the wrapper in its place
VISIT = "visit"  # somebody on the node looks into a running job


class UsageError(VmbatchError):
    """The arguments make no sense."""


class Call:
    """One call of remoteshell.

    Args:
        way: SHELL, TASK, WRAPPED or VISIT.
        job: id of the job.
        words: the command, may be empty for VISIT.
        run: directory of the registry.
    """

    __slots__ = ("job", "run", "way", "words")

    def __init__(self, *, way: str, job: str, words: list[bytes], run: str) -> None:
        self.way = way
        self.job = job
        self.words = words
        self.run = run


def understand(arguments: list[str], environment: dict[bytes, bytes], *, leader: bool) -> Call:
    """Tell who calls and what for.

    Args:
        arguments: the command line without the program.
        environment: of this process.
        leader: whether this process leads its session, as one started by a batch system does.

    Raises:
        UsageError: nobody calls like this.
        RequestError: the job id is none.
    """
    run = DEFAULT_RUN
    if arguments[:1] == ["--run"] and len(arguments) > 1:
        run, arguments = arguments[1], arguments[2:]
    if arguments[:1] == ["--wrapped"] and len(arguments) > 1:
        job = check_job_id(arguments[1])
        return Call(way=WRAPPED, job=job, words=_bytes(arguments[2:]), run=run)
    if not arguments or arguments[0].startswith("--"):
        raise UsageError(USAGE)
    started = os.fsdecode(environment.get(b"PBS_JOBID", b""))
    if _like_a_job(arguments[0]) and not (leader and started):
        job = check_job_id(arguments[0])
        return Call(way=VISIT, job=job, words=_bytes(arguments[1:]), run=run)
    if not started:
        raise RequestError(
            "no job: the variable PBS_JOBID is not set",
            hint="this is the batch system's job starter; to enter a job: remoteshell JOBID",
        )
    way = SHELL if _is_login(arguments, environment) else TASK
    return Call(way=way, job=check_job_id(started), words=_bytes(arguments), run=run)


def _bytes(words: list[str]) -> list[bytes]:
    return [os.fsencode(word) for word in words]


def _like_a_job(word: str) -> bool:
    """Whether a word is digits and then nothing, an index or a server: not `7z`."""
    digits = len(word) - len(word.lstrip("0123456789"))
    return digits > 0 and word[digits : digits + 1] in ("", "[", ".")


def _is_login(arguments: list[str], environment: dict[bytes, bytes]) -> bool:
    """Whether pbs_mom wants the job's own shell: it gives one path, and something to read.

    A task of pbsdsh reads from /dev/null, and its number is above 1.
    """
    if len(arguments) != 1 or not arguments[0].startswith("/"):
        return False
    number = environment.get(b"PBS_TASKNUM", b"")
    if number.isdigit() and int(number) > 1:
        return False
    try:
        return not stat.S_ISCHR(os.fstat(0).st_mode) or os.isatty(0)
    except OSError:
        return False
