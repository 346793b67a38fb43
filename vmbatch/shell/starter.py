"""remoteshell's entry: a bare job goes on at once, a job with a guest goes into it."""

# `pathlib` is slow to import, and wants str where the kernel has bytes.
# ruff: noqa: PTH119, PTH123, S606

from __future__ import annotations

import os
import sys

from vmbatch.errors import GuestError, VmbatchError
from vmbatch.jobid import slug_of
from vmbatch.shell import registry
from vmbatch.shell.call import SHELL, VISIT, Call, UsageError, understand

REFUSED = 125  # as of env(1), nohup(1): the command was not run
NO_SHELL = 254  # as of pbs_mom, when it can't start the shell
BAD_USAGE = 2


def main(arguments: list[str]) -> int:
    """Run a job's shell where it belongs and return its exit status."""
    environment = own_environment()
    try:
        call = understand(arguments, environment, leader=os.getpid() == os.getsid(0))
        entry = registry.find(call.run, slug_of(call.job))
        if entry is None:
            raise _unknown(call)
        if entry.jobdir is None:
            return _bare(call, environment)
        from vmbatch.shell.entering import enter  # only jobs with a guest pay for it

        return enter(call, entry.jobdir, environment)
    except UsageError as error:
        _say(error.message)
        return BAD_USAGE
    except VmbatchError as error:
        for line in str(error).splitlines():
            _say(f"vmbatch: {line}")
        return REFUSED


def own_environment() -> dict[bytes, bytes]:
    """Return this process's environment as it was given.

    `os.environ` is not that: in the C locale the interpreter adds LC_CTYPE to it (PEP 538).
    """
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return dict(os.environb)
    found: dict[bytes, bytes] = {}
    for entry in entries:
        name, sign, value = entry.partition(b"=")
        if name and sign:
            found.setdefault(name, value)  # getenv(3), too, finds the first
    return found


def _bare(call: Call, environment: dict[bytes, bytes]) -> int:
    """Become what pbs_mom would have started."""
    if call.way == VISIT:
        raise GuestError(
            f"job {call.job} runs on the bare node and has no guest",
            hint="list the jobs that have one with: vmbatch guest list",
        )
    _default_signals()
    program = call.words[0]
    try:
        if call.way == SHELL:
            os.execve(program, [b"-" + os.path.basename(program)], environment)
        os.execvpe(program, call.words, environment)
    except OSError as error:
        _say(f"vmbatch: can't start {os.fsdecode(program)}: {error.strerror}")
    return NO_SHELL


def _default_signals() -> None:
    """Undo what the interpreter ignores for itself, and a program would inherit."""
    import _signal  # type: ignore[import-not-found] # `signal` costs 4 ms of enum

    for name in ("SIGPIPE", "SIGXFSZ"):
        _signal.signal(getattr(_signal, name), _signal.SIG_DFL)


def _unknown(call: Call) -> VmbatchError:
    if call.way == VISIT:
        return GuestError(
            f"no job {call.job} is known on this node",
            hint="enter a job on the node where it runs: qstat -n; vmbatch guest list",
        )
    return GuestError(
        f"job {call.job} is not run: its prologue did not complete on this node",
        hint="submit it again; if it comes back, the administrator asks: vmbatch guest log",
    )


def _say(line: str) -> None:
    try:
        os.write(2, os.fsencode(line) + b"\n")
    except OSError:
        sys.exit(REFUSED)
