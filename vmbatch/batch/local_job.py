"""Starting the shell of a local job, and ending it as ``qdel`` and the walltime do."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from vmbatch.batch.local_processes import Child, Events, kill_session
from vmbatch.batch.local_terminal import Terminal
from vmbatch.batch.momconfig import MomConfig
from vmbatch.clock import Deadline
from vmbatch.job import Owner

UMASK = 0o077
_NO_SHELL = 254
KILL_DELAY = 2.0
"""Seconds between TERM and KILL."""


def command_of(config: MomConfig, shell: str) -> tuple[str, list[str]]:
    """Return what is executed, and its argument vector.

    Without a job starter, or with one that is not there, it is a login shell: on the node.

    >>> command_of(MomConfig(), "/bin/bash")
    ('/bin/bash', ['-bash'])
    """
    starter = config.job_starter
    if starter and Path(starter).exists():
        return starter, [starter, shell]
    return shell, ["-" + Path(shell).name]


def input_line(script: Path, arguments: str, *, replace_shell: bool) -> bytes:
    """Return the line that a mom writes into the standard input of a batch job's shell.

    Args:
        script: the job's script.
        arguments: shell text.
        replace_shell: as with ``$exec_with_exec``: the script takes the shell's place, so that
            nothing is left to read the rest of the input as commands.
    """
    words = f"{script} {arguments}" if arguments else str(script)
    return os.fsencode(("exec " if replace_shell else "") + words + "\n")


def start_job(
    command: tuple[str, list[str]],
    *,
    owner: Owner,
    environment: Mapping[str, str],
    directory: str,
    streams: tuple[int, int, int],
    terminal: Terminal | None = None,
) -> Child:
    """Start the job's shell as its owner, leading a session; pbs_mom's words where it can't be."""
    path, arguments = command
    try:
        process = subprocess.Popen(
            arguments,
            executable=path,
            env=dict(environment),
            cwd=directory,
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
            umask=UMASK,
            user=owner.uid,
            group=owner.gid,
            extra_groups=owner.gids,
            start_new_session=terminal is None,
            preexec_fn=terminal.take_over if terminal else None,
        )
    except (OSError, subprocess.SubprocessError) as error:
        text = f"PBS: exec of shell '{path}' failed: {error}\n"
        os.write(streams[2], text.encode(errors="backslashreplace"))
        return Child(None, failed=_NO_SHELL)
    return Child(process)


def end_session(child: Child, events: Events, delay: float) -> None:
    """Send TERM to a job's session, and KILL to what is left of it.

    KILL comes after `delay` seconds, or as soon as the session's leader has ended: a login shell
    does so at once, and leaves its script no time. A second request to stop cuts the delay short.
    """
    deadline = Deadline.after(delay)
    kill_session(child.session, signal.SIGTERM)
    events.wait(child, deadline, after=events.times)
    kill_session(child.session, signal.SIGKILL)


def torque_status(returncode: int) -> int:
    """Return a job's exit status as an epilogue is told it.

    >>> torque_status(3), torque_status(-15)
    (3, 271)
    """
    return returncode if returncode >= 0 else 256 - returncode


def shell_status(returncode: int) -> int:
    """Return an exit status as a shell has it.

    >>> shell_status(3), shell_status(-15)
    (3, 143)
    """
    return returncode if returncode >= 0 else 128 - returncode
