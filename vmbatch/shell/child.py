"""Starting ssh: deaf to the signals that we pass on, and dead when we are."""

# To become a program is what this module is for.
# ruff: noqa: S606

from __future__ import annotations

import os
import signal

# What a batch system may send to a job. STOP and KILL can't be caught; CHLD, PIPE and WINCH are
# ours and ssh's own.
FORWARDED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGTERM,
    signal.SIGCONT,
    signal.SIGTSTP,
    signal.SIGXCPU,
    signal.SIGVTALRM,
    signal.SIGPROF,
)
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def start(argv: list[str], environment: dict[bytes, bytes], descriptors: dict[int, int]) -> int:
    """Start a program and return its pid.

    It stays in our session, so that a KILL to the whole job takes it. The signals of `FORWARDED`
    are blocked in it rather than ignored: ssh sets handlers of its own over an ignored signal.

    Args:
        argv: path and arguments.
        environment: its whole environment.
        descriptors: for each of its descriptors 0, 1, 2 that is not ours, which of ours it is.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        for target, source in descriptors.items():
            os.dup2(source, target, inheritable=True)
        _die_with(parent)
        os.execve(argv[0], argv, environment)
    finally:
        os._exit(127)


def _die_with(parent: int) -> None:
    import ctypes  # here, in the child, its 4 ms delay nobody else

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(127)
