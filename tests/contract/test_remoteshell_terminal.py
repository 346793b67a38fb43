"""An interactive job has its terminal in the guest."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator

import pytest
from remoteshell_bed import Bed, bed, settled, shared_bed, signal_session

pytestmark = pytest.mark.contract
__all__ = ["bed", "shared_bed"]


class Terminal:
    """A terminal with remoteshell in it, as pbs_mom starts it for `qsub -I`."""

    def __init__(self, bed: Bed, *words: str, **more: str) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(31, 97)
        environment = bed.environment(PBS_ENVIRONMENT="PBS_INTERACTIVE", TERM="vt220", PS1="$ ")
        bed.ready(script=None)
        self.job = bed.start(
            *words,
            environment={**environment, **more},
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.before = termios.tcgetattr(self.slave)
        self.seen = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, text: str, seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while text.encode() not in self.seen:
            assert time.monotonic() < end, self.seen
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 65536)
        self.seen = self.seen.partition(text.encode())[2]

    def drain(self) -> bytes:
        while select.select([self.master], [], [], 0.2)[0]:
            self.seen += os.read(self.master, 65536)
        return self.seen


@pytest.fixture
def terminal(bed: Bed) -> Iterator[Terminal]:
    (bed.home / ".bashrc").write_text("PS1='READY$ '\n")
    (bed.home / ".bash_profile").write_text("PS1='READY$ '\n")
    made = Terminal(bed, "/bin/bash")
    yield made
    if made.job.poll() is None:
        signal_session(made.job.pid, signal.SIGKILL)
        made.job.wait()
    os.close(made.master)
    os.close(made.slave)
    (bed.home / ".bash_profile").unlink()
    (bed.home / ".bashrc").unlink()


def test_interactive_job(bed: Bed, terminal: Terminal) -> None:
    terminal.expect("READY$ ")
    terminal.type("tty; stty size; echo $TERM=$PBS_ENVIRONMENT; shopt -q login_shell; echo =$?=\n")
    terminal.expect("/dev/pts/")
    terminal.expect("31 97")
    terminal.expect("vt220=PBS_INTERACTIVE")
    terminal.expect("=0=")
    terminal.resize(40, 120)
    assert terminal.job.poll() is None
    terminal.type(
        "for i in {1..40}; do sleep 0.05; test $(stty size | tr -d ' ') = 40120 && break; "
        "done; stty size\n"
    )
    terminal.expect("\r40 120")
    terminal.type("sleep 331\n")
    assert settled(lambda: bed.processes("sleep 331"))
    terminal.type("\x03")
    terminal.type("echo =$?=\n")
    terminal.expect("=130=")
    terminal.type("exit 7\n")
    assert terminal.job.wait(10) == 7
    assert b"closed" not in terminal.drain()
    assert termios.tcgetattr(terminal.slave) == terminal.before
    assert settled(lambda: bed.leftovers() == []), bed.leftovers()


def test_hang_up_ends_the_job_in_the_guest(bed: Bed, terminal: Terminal) -> None:
    terminal.expect("READY$ ")
    terminal.type("trap '' HUP; sleep 332; sleep 332\n")
    assert settled(lambda: bed.processes("sleep 332"))
    signal_session(terminal.job.pid, signal.SIGKILL)
    terminal.job.wait()
    assert settled(lambda: bed.leftovers() == [], 8), bed.leftovers()


def test_signal_reaches_an_interactive_job(bed: Bed, terminal: Terminal) -> None:
    terminal.expect("READY$ ")
    terminal.type("trap 'echo got''it' USR1; echo set''it\n")
    terminal.expect("setit")
    signal_session(terminal.job.pid, signal.SIGUSR1)
    assert settled(lambda: list(bed.guest.glob("jobs/*/signal.USR1")))
    terminal.type("sleep 0.5\n")  # bash runs a trap when its line is complete
    terminal.expect("gotit")
    signal_session(terminal.job.pid, signal.SIGHUP)
    assert terminal.job.wait(10) == -signal.SIGHUP
    assert termios.tcgetattr(terminal.slave) == terminal.before


def test_visitor_with_a_command_has_no_terminal_there(bed: Bed, terminal: Terminal) -> None:
    done = subprocess.run(
        bed.start_words("17.vm", "tty"),
        stdin=terminal.slave,
        capture_output=True,
        env={"PATH": "/bin"},
        user=bed.uid,
        group=bed.gid,
        check=False,
        timeout=20,
    )
    assert (done.returncode, done.stdout) == (1, b"not a tty\n")
