"""Into the guest: one job's shell, from its first byte to its exit status."""

from __future__ import annotations

import os
import resource
import signal
import termios

from vmbatch.shell import guestfile, header, openssh
from vmbatch.shell.call import SHELL, TASK, VISIT, WRAPPED, Call
from vmbatch.shell.child import FORWARDED
from vmbatch.shell.session import Ending, Session

# When its shell ends, mom ends what is left of a job; a further process may leave some behind.
_KINDS = {SHELL: "job", WRAPPED: "job", TASK: "task", VISIT: "task"}
_OF_THE_TERMINAL = (signal.SIGTSTP, signal.SIGCONT)  # a visitor's ^Z stops remoteshell itself


def enter(call: Call, jobdir: str, environment: dict[bytes, bytes]) -> int:
    """Run a call's command in its guest and return the exit status.

    Does not return where a signal that we passed on ended the command: it then ends us, too.

    Raises:
        VmbatchError: the guest is not ready, or was lost.
    """
    _open_missing_descriptors()
    guest = guestfile.load(jobdir)
    openssh.check()
    terminal = os.isatty(0) and (call.way == SHELL or (call.way == VISIT and not call.words))
    session = Session(
        guest,
        header.build(call, guest, environment),
        kind=_KINDS[call.way],
        terminal=terminal,
        environment=openssh.environment(environment),
        signals=[name for name in FORWARDED if call.way != VISIT or name not in _OF_THE_TERMINAL],
    )
    saved = termios.tcgetattr(0) if terminal else None
    try:
        ending = session.run()
    finally:
        if saved is not None and not session.ended_well:
            _restore(saved)
    return _end(ending)


def _end(ending: Ending) -> int:
    if ending.signal:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the core would be remoteshell's
        signal.signal(ending.signal, signal.SIG_DFL)
        os.kill(os.getpid(), ending.signal)
    return ending.status


def _open_missing_descriptors() -> None:
    """Fill 0, 1 and 2, lest a pipe of ours gets their number."""
    while (descriptor := os.open("/dev/null", os.O_RDWR)) < 3:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _restore(saved: list[object]) -> None:
    """Take a killed ssh's raw mode back."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    try:
        termios.tcsetattr(0, termios.TCSANOW, saved)  # type: ignore[arg-type]
    except termios.error:
        return
