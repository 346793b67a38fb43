"""Signals reach the job in the guest, and the batch system sees the end that it expects."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time

import pytest
from remoteshell_bed import Bed, bed, settled, shared_bed, signal_session

pytestmark = pytest.mark.contract
__all__ = ["bed", "shared_bed"]

TRAP = """#!/bin/bash
trap 'echo got %(name)s; sleep 0.5; echo saved; exit 3' %(name)s
echo begun
while :; do sleep 0.05; done
"""


def finish(job: subprocess.Popen[bytes], seconds: float = 20) -> tuple[int, bytes, bytes]:
    out, err = job.communicate(timeout=seconds)
    return job.returncode, out, err


@pytest.mark.parametrize("name", ["TERM", "INT", "USR1"])
def test_trap_gets_its_time_and_the_status_is_the_signal(bed: Bed, name: str) -> None:
    number = signal.Signals[f"SIG{name}"]
    job = bed.begin(TRAP % {"name": name})
    signal_session(job.pid, number)
    status, out, err = finish(job)
    assert out == f"got {name}\nsaved\n".encode()
    assert err in (b"", b"Terminated\n", b"User defined signal 1\n")  # bash, of its own child
    # bash waits for its child and then goes on after an INT that the child took well
    assert status == (3 if name == "INT" else -number)


def test_term_without_a_trap(bed: Bed) -> None:
    job = bed.begin("#!/bin/sh\necho begun\nsleep 311\n")
    start = time.monotonic()
    signal_session(job.pid, signal.SIGTERM)
    assert finish(job) == (-signal.SIGTERM, b"", b"")
    assert time.monotonic() - start < 2
    assert settled(lambda: not bed.processes("sleep 311"), 1)


def test_processes_in_groups_of_their_own_get_it(bed: Bed) -> None:
    job = bed.begin(
        "#!/bin/bash\nset -m\nbash -c 'trap \"echo sub\" TERM; echo begun; sleep 1; sleep 0.1' &\n"
        "wait\n"
    )
    signal_session(job.pid, signal.SIGTERM)
    assert finish(job)[:2] == (-signal.SIGTERM, b"sub\n")


def test_each_of_many_signals_arrives(bed: Bed) -> None:
    job = bed.start(
        "bash",
        "-c",
        "trap 'echo one' USR1; trap 'echo two' USR2; trap 'echo end; exit 9' TERM; echo begun;"
        " while :; do sleep 0.02; done",
        stdin=subprocess.DEVNULL,
    )
    assert job.stdout is not None
    assert job.stdout.readline() == b"begun\n"
    for number, answer in [
        (signal.SIGUSR1, b"one\n"),
        (signal.SIGUSR2, b"two\n"),
        (signal.SIGUSR1, b"one\n"),
        (signal.SIGTERM, b"end\n"),
    ]:
        signal_session(job.pid, number)
        assert job.stdout.readline() == answer
    assert finish(job)[0] == 9


def test_stop_and_go_on(bed: Bed) -> None:
    job = bed.start(
        "bash",
        "-c",
        "trap 'echo cont; exit 0' CONT; trap 'echo tstp' TSTP; echo begun; for i in {1..200};"
        " do sleep 0.05; done",
        stdin=subprocess.DEVNULL,
    )
    assert job.stdout is not None
    assert job.stdout.readline() == b"begun\n"
    signal_session(job.pid, signal.SIGTSTP)
    assert job.stdout.readline() == b"tstp\n"
    signal_session(job.pid, signal.SIGCONT)
    assert finish(job)[:2] == (0, b"cont\n")


def test_kill_of_the_session_leaves_nothing(bed: Bed) -> None:
    job = bed.begin("#!/bin/bash\ntrap '' HUP TERM\necho begun\nsleep 312\n")
    assert settled(lambda: len(bed.processes("sleep 312")) == 1)
    signal_session(job.pid, signal.SIGKILL)
    assert finish(job)[0] == -signal.SIGKILL
    assert settled(lambda: bed.leftovers() == [], 8), bed.leftovers()


def test_kill_of_remoteshell_alone_takes_its_ssh(bed: Bed) -> None:
    job = bed.begin("#!/bin/sh\necho begun\nsleep 313\n")
    assert bed.processes("/usr/bin/ssh")
    os.kill(job.pid, signal.SIGKILL)
    assert settled(lambda: not bed.processes("/usr/bin/ssh"), 1)
    finish(job)


def test_term_before_the_guest_has_answered(bed: Bed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        bed.ready(port=silent.getsockname()[1])
        job = bed.start("/bin/bash")
        link, _ = silent.accept()
        with link:
            signal_session(job.pid, signal.SIGTERM)
            assert finish(job, 5) == (-signal.SIGTERM, b"", b"")
            assert bed.directories() == []
            link.settimeout(2)
            while link.recv(4096):  # until its ssh is gone
                continue


def test_guest_that_goes_away(bed: Bed) -> None:
    job = bed.begin("#!/bin/sh\necho begun\nsleep 314\n")
    bed.stop_server()
    status, out, err = finish(job)
    assert (status, out) == (125, b"")
    # ssh itself writes a line, too, where the connection was closed properly
    first, second = err.decode().splitlines()[-2:]
    assert first.startswith("vmbatch: job 17.vm: the guest was lost: ")
    assert second.startswith("vmbatch: hint: ")


def test_guest_that_goes_away_while_the_job_is_deleted(bed: Bed) -> None:
    job = bed.begin("#!/bin/bash\ntrap 'sleep 5' TERM\necho begun\nsleep 5\n")
    signal_session(job.pid, signal.SIGTERM)
    assert settled(lambda: list(bed.guest.glob("jobs/*/signal.TERM")))
    bed.stop_server()
    status, _, err = finish(job)
    assert status == -signal.SIGTERM
    assert b"vmbatch" not in err
