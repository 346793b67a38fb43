"""`vmbatch local run` from outside: streams, status, standard input, terminal, what it leaves."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest
from mom_bed import ROOT, USER, Bed, bed, scratch_owner

from vmbatch.batch.local_processes import session_members

pytestmark = pytest.mark.contract
__all__ = ["bed", "scratch_owner"]


@pytest.mark.parametrize("status", [0, 1, 42, 125, 255])
def test_the_jobs_exit_status_is_ours(bed: Bed, status: int) -> None:
    done = bed.local(str(ROOT / "examples" / "exitcode.sh"), str(status))
    assert (done.status, done.out, done.err) == (status, b"", b"")


@pytest.mark.parametrize(("name", "status"), [("TERM", 143), ("KILL", 137), ("SEGV", 139)])
def test_a_job_that_a_signal_ends(bed: Bed, name: str, status: int) -> None:
    assert bed.local(bed.job(f"#!/bin/sh\nkill -s {name} $$\n")).status == status


def test_streams_are_apart_and_binary_clean(bed: Bed) -> None:
    job = bed.job("#!/bin/sh\nhead -c 3000000 /dev/zero | tr '\\0' '\\377'; echo err >&2\n")
    done = bed.local(job)
    assert done.out == b"\xff" * 3_000_000
    assert done.err == b"err\n"


def test_joined_streams(bed: Bed) -> None:
    done = bed.local("-j", "oe", bed.job("#!/bin/sh\necho 1; echo 2 >&2; echo 3\n"))
    assert (done.out, done.err) == (b"1\n2\n3\n", b"")


def test_output_comes_as_it_is_printed(bed: Bed) -> None:
    fifo = bed.base / "fifo"
    os.mkfifo(fifo)
    fifo.chmod(0o666)
    running = bed.start_local(bed.job(f"#!/bin/sh\necho first\ncat {fifo} >/dev/null\n"))
    assert running.stdout
    assert running.stdout.readline() == b"first\n"
    assert running.poll() is None
    fifo.write_text("go on")
    running.communicate(timeout=20)
    assert running.returncode == 0


def test_the_job_is_the_users_in_every_way(bed: Bed) -> None:
    text = (
        "#!/bin/sh\nid -un; id -Gn; pwd; umask; echo $HOME $USER $SHELL; ps -o sid= -p $$; exit\n"
    )
    done = bed.local(bed.job(text), cwd=bed.base)
    lines = done.out.decode().split("\n")
    home = bed.owner.home
    assert lines[:3] == [USER, " ".join(name for name, _ in bed.owner.groups), home]
    assert lines[4] == f"{home} {USER} /bin/bash"


def test_arguments_arrive_whole(bed: Bed) -> None:
    job = bed.job('#!/bin/sh\nfor a; do printf "<%s>" "$a"; done\n')
    assert (
        bed.local(job, "one", "two  words", "$HOME", "", "-l").out
        == b"<one><two  words><$HOME><><-l>"
    )


def test_variables(bed: Bed) -> None:
    job = bed.job("#!/bin/sh\necho $A-$PBS_JOBNAME-$PBS_ENVIRONMENT-$PBS_O_WORKDIR-$PBS_QUEUE\n")
    done = bed.local("-v", "A=b c", "-N", "name", "-q", "vm", job, cwd=bed.base)
    assert done.out.decode() == f"b c-name-PBS_BATCH-{bed.base}-vm\n"


def test_a_script_from_standard_input(bed: Bed) -> None:
    done = bed.local("-", "x", stdin=b"#!/bin/sh\necho $PBS_JOBNAME $1; cat\n")
    assert done.out == b"STDIN x\n"


def test_without_stdin_the_job_reads_nothing(bed: Bed) -> None:
    done = bed.local(bed.job("#!/bin/sh\ncat\necho end\n"), stdin=b"not for the job")
    assert done.out == b"end\n"


def test_standard_input(bed: Bed) -> None:
    data = bytes(range(256)) * 10_000
    done = bed.local("--stdin", bed.job("#!/bin/sh\nsha256sum\n"), stdin=data)
    assert done.out.split()[0].decode() == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 3\n", "#!/bin/sh\nread line\nexit 3\n"])
def test_input_that_the_job_leaves_is_never_a_command(bed: Bed, script: str) -> None:
    spy = Path(bed.owner.home) / "spied"
    done = bed.local("--stdin", bed.job(script), stdin=f"touch {spy}\n".encode() * 3)
    assert done.status == 3
    assert not spy.exists()


def test_input_that_never_ends_does_not_hold_the_job(bed: Bed) -> None:
    reader, writer = os.pipe()
    running = bed.start_local("--stdin", bed.job("#!/bin/sh\nread x\necho $x\n"), stdin=reader)
    os.write(writer, b"one\n")
    assert running.communicate(timeout=20)[0] == b"one\n"
    os.close(reader)
    os.close(writer)


def test_stdin_cant_be_both(bed: Bed) -> None:
    done = bed.local("--stdin", "-", stdin=b"x")
    assert done.status == 1
    assert "can't be both" in done.errors


# What it leaves.


def test_nothing_is_left(bed: Bed) -> None:
    for job in ("exit 0", "exit 9", "kill -9 $$"):
        bed.local(bed.job(f"#!/bin/sh\n{job}\n"))
    assert bed.spool_files() == []
    assert list((bed.run_dir / "jobs").iterdir()) == []


def test_output_that_cant_be_delivered_is_kept(bed: Bed) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    running = bed.start_local(bed.job("#!/bin/sh\necho precious\n"), stdout=writer)
    os.close(writer)
    _, err = running.communicate(timeout=20)
    found = re.search(r"was not delivered, it is in: (\S+\.OU)", err.decode())
    assert found
    assert Path(found[1]).read_text() == "precious\n"


def test_twelve_at_once(bed: Bed) -> None:
    job = bed.job("#!/bin/sh\necho $PBS_JOBID\n")
    running = [bed.start_local(job) for _ in range(12)]
    ids = {process.communicate(timeout=60)[0] for process in running}
    assert len(ids) == 12
    assert all(re.fullmatch(rb"\d+\.local-[\w-]+\n", job_id) for job_id in ids)
    assert bed.spool_files() == []


def test_an_id_of_an_array(bed: Bed) -> None:
    done = bed.local("--job-id", "186[0].vm", bed.job("#!/bin/sh\necho $0 $PBS_JOBID\n"))
    assert done.out.decode() == f"{bed.local_home}/mom_priv/jobs/186-0.vm.SC 186[0].vm\n"
    assert bed.spool_files() == []


def test_an_id_that_runs_already(bed: Bed) -> None:
    running = bed.start_local("--job-id", "7.x", bed.job("#!/bin/sh\necho up\nsleep 30\n"))
    assert running.stdout
    running.stdout.readline()
    done = bed.local("--job-id", "7.x", bed.job("#!/bin/sh\n", "other.sh"))
    assert done.status == 1
    assert "a job 7.x is in the spool" in done.errors
    running.terminate()
    running.communicate(timeout=20)


def test_a_link_in_the_spool_is_not_followed(bed: Bed) -> None:
    bed.local(bed.job("#!/bin/sh\n"))
    victim = bed.base / "victim"
    victim.write_text("whole")
    number = int((bed.local_home / "next_id").read_text())
    bed.local(bed.job("#!/bin/sh\n"))
    host = bed.local(bed.job("#!/bin/sh\necho ${PBS_JOBID#*.}\n")).out.decode().strip()
    (bed.local_home / "spool" / f"{number + 2}.{host}.OU").symlink_to(victim)
    assert bed.local(bed.job("#!/bin/sh\necho out\n")).out == b"out\n"
    assert victim.read_text() == "whole"


def test_a_job_that_replaces_its_output_by_a_link(bed: Bed) -> None:
    victim = bed.base / "victim"
    victim.write_text("whole")
    job = bed.job(f"#!/bin/sh\necho out\ncd {bed.local_home}/spool && rm -f *.OU && "
                  f"for id in $PBS_JOBID; do ln -s {victim} $id.OU; done\n")  # fmt: skip
    assert bed.local(job).out == b"out\n"
    assert victim.read_text() == "whole"


# Who, and what is refused.


def test_the_owner_is_whoever_the_script_belongs_to(bed: Bed) -> None:
    bed.configure(local={"home": str(bed.local_home), "user": "nobody"})
    job = bed.job("#!/bin/sh\nid -un\n")
    os.chown(job, bed.owner.uid, -1)
    assert bed.local(job).out.decode().strip() == USER
    os.chown(job, 0, -1)
    assert bed.local(job, env={"SUDO_USER": USER}).out.decode().strip() == USER
    assert bed.local("-u", USER, job).out.decode().strip() == USER


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-u", "root"], "a job can't be root's"),
        (["-u", "no-such-user"], "there is no ordinary user 'no-such-user'"),
        (["-N", "a b"], "illegal -N value"),
        (["-S", "sh"], "illegal -S value"),
    ],
)
def test_refusals(bed: Bed, arguments: list[str], text: str) -> None:
    done = bed.local(*arguments, bed.job("#!/bin/sh\n"))
    assert done.status in (1, 2)
    assert text in done.errors
    assert "hint: " in done.errors


def test_a_script_that_is_not_there(bed: Bed) -> None:
    done = bed.local(str(bed.base / "none-such"))
    assert done.status == 1
    assert "can't read the job script" in done.errors


def test_an_ordinary_user_is_told_what_to_do(bed: Bed) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vmbatch.cli.main", "local", "run", bed.job("#!/bin/sh\n")],
        user=bed.owner.uid,
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "vmbatch local run needs root" in done.stderr
    assert "hint: " in done.stderr


def test_a_shell_that_is_not_there(bed: Bed) -> None:
    (bed.local_home / "mom_priv").mkdir(parents=True)
    (bed.local_home / "mom_priv" / "config").write_text("# no job starter\n")
    done = bed.local("-S", "/no/such/shell", bed.job("#!/bin/sh\n"))
    assert done.status == 254
    assert "PBS: exec of shell '/no/such/shell' failed" in done.errors
    assert bed.spool_files() == []
    assert list((bed.run_dir / "jobs").iterdir()) == []


def test_timings(bed: Bed) -> None:
    done = bed.local("--timings", bed.job("#!/bin/sh\nsleep 0.3\n"))
    found = dict(re.findall(r"vmbatch local: +(\w+) +([0-9.]+) s", done.errors))
    assert list(found) == ["prologue", "job", "epilogue"]
    assert 0.3 <= float(found["job"]) < 3


def test_a_script_of_the_sites_is_left_alone(bed: Bed) -> None:
    mom_priv = bed.local_home / "mom_priv"
    mom_priv.mkdir(parents=True)
    own = bed.site_script(mom_priv / "prologue", "#!/bin/sh\necho the site\n")
    gone = mom_priv / "epilogue"
    gone.symlink_to(bed.base / "old-checkout" / "scripts" / "epilogue")
    (mom_priv / "config").write_text("$prologalarm 60\n")
    assert bed.local(bed.job("#!/bin/sh\n")).out == b"the site\n"
    assert own.read_text().endswith("echo the site\n")
    assert gone.resolve() == ROOT / "scripts" / "epilogue"
    assert (mom_priv / "config").read_text() == "$prologalarm 60\n"


# The terminal.


class Screen:
    """A terminal with `vmbatch local run -I` in it."""

    def __init__(self, bed: Bed, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
        self.text = b""
        self.process = bed.start_local(
            *("-I", *arguments), stdin=slave, stdout=slave, env={"TERM": "vt100"}
        )
        self.slave = slave
        self.errors = b""
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        if self.process.stderr:
            self.errors = self.process.stderr.read()

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def expect(self, pattern: bytes, seconds: float = 10.0) -> re.Match[bytes]:
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text)):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.master], [], [], left)[0]:
                raise TimeoutError(self.text)
            self.text += os.read(self.master, 65536)
        self.text = self.text[found.end() :]
        return found

    def end(self) -> int:
        status = self.process.wait(timeout=20)
        os.close(self.slave)
        os.close(self.master)
        return status


PROMPT = rb"\$ "


def test_a_terminal_of_ones_own(bed: Bed) -> None:
    screen = Screen(bed)
    screen.expect(PROMPT)
    screen.type(b"tty; stty size; echo $TERM-$PBS_ENVIRONMENT; ps -o tpgid=,sid= -p $$\r")
    screen.expect(rb"/dev/pts/\d+\r\n33 99\r\nvt100-PBS_INTERACTIVE\r\n *\d+ +\d+")
    screen.expect(PROMPT)
    screen.type(b"exit 3\r")
    assert screen.end() == 3
    assert bed.spool_files() == []


def test_ctrl_c_reaches_what_runs_in_it_and_not_us(bed: Bed) -> None:
    screen = Screen(bed)
    screen.expect(PROMPT)
    screen.type(b"sleep 60; echo status-$?\r")
    screen.expect(rb"echo status")
    time.sleep(0.3)
    screen.type(b"\x03")
    screen.expect(PROMPT)
    screen.type(b"echo still-$((1+1))\r")
    screen.expect(rb"still-2")
    screen.type(b"exit\r")
    screen.end()


def test_a_new_size_is_passed_on(bed: Bed) -> None:
    screen = Screen(bed)
    screen.expect(PROMPT)
    fcntl.ioctl(screen.master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    screen.process.send_signal(signal.SIGWINCH)  # the kernel's, had we this terminal for our own
    time.sleep(0.3)
    screen.type(b"stty size\r")
    screen.expect(rb"40 120")
    screen.type(b"exit\r")
    screen.end()


def test_ones_own_terminal_is_as_before(bed: Bed) -> None:
    screen = Screen(bed)
    before = termios.tcgetattr(screen.slave)
    screen.expect(PROMPT)
    assert termios.tcgetattr(screen.slave) != before
    screen.type(b"exit\r")
    screen.process.wait(timeout=20)
    assert termios.tcgetattr(screen.slave) == before
    screen.end()


def test_what_a_prologue_prints_is_on_the_terminal_and_an_epilogues_is_not(bed: Bed) -> None:
    mom_priv = bed.local_home / "mom_priv"
    mom_priv.mkdir(parents=True)
    text = "#!/bin/sh\ntty </dev/tty && echo a terminal; echo NAME\n"
    text += '[ -e "$8" ] && echo script; exit 0\n'
    bed.site_script(mom_priv / "prologue.user", text.replace("NAME", "before"))
    bed.site_script(mom_priv / "epilogue.user", text.replace("NAME", "afterwards"))
    screen = Screen(bed)
    screen.expect(rb"/dev/tty: No such device.*\r\nbefore\r\n")
    screen.expect(PROMPT)
    assert b"script" not in screen.text
    screen.type(b"exit\r")
    screen.process.wait(timeout=20)
    while select.select([screen.master], [], [], 0)[0]:
        screen.text += os.read(screen.master, 65536)
    assert b"afterwards" not in screen.text
    screen.end()


def test_an_interactive_job_whose_prologue_fails_is_not_tried_again(bed: Bed) -> None:
    mom_priv = bed.local_home / "mom_priv"
    mom_priv.mkdir(parents=True)
    bed.site_script(mom_priv / "prologue.user", "#!/bin/sh\necho no luck\nexit 2\n")
    screen = Screen(bed)
    screen.expect(rb"no luck\r\n")
    assert screen.end() == 1
    assert b"qsub: job 0.local-" in screen.errors


def test_hanging_up_ends_the_job(bed: Bed) -> None:
    screen = Screen(bed)
    screen.expect(PROMPT)
    screen.type(b"echo pid-$$-\r")
    shell = int(screen.expect(rb"pid-(\d+)-")[1])
    assert session_members(shell)
    screen.process.send_signal(signal.SIGHUP)
    assert screen.end() in (129, 137, 143)
    assert session_members(shell) == []
    assert bed.spool_files() == []


def test_commands_from_a_pipe(bed: Bed) -> None:
    done = bed.local("-I", stdin=b"echo from-$((40+2))\nexit 4\n")
    assert done.status == 4
    assert b"from-42\r\n" in done.out


def test_the_end_of_the_input_ends_the_shell(bed: Bed) -> None:
    done = bed.local("-I", stdin=b"cat\nhello\n")
    assert done.status == 0
    assert b"hello\r\n" in done.out
