"""A job whose guest is not ready is refused with the reason; a bare job notices nothing."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from remoteshell_bed import JOB, OWNER, Bed, made

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def shared() -> Iterator[Bed]:
    with made("openssh") as bed:
        yield bed


@pytest.fixture
def bed(shared: Bed) -> Bed:
    shared.ready()
    shared.write_script("#!/bin/sh\necho ran >>ran\n")
    (shared.home / "ran").unlink(missing_ok=True)
    return shared


def refused(bed: Bed, *words: str, **more: Any) -> list[str]:
    done = bed.call(*(words or ("/bin/bash",)), stdin=f"{bed.script}\n".encode(), **more)
    assert (done.returncode, done.stdout) == (125, b"")
    assert not (bed.home / "ran").exists()
    lines = done.stderr.decode().splitlines()
    assert all(line.startswith("vmbatch: ") for line in lines)
    assert sum("hint: " in line for line in lines) == 1
    return [line.removeprefix("vmbatch: ") for line in lines]


def test_no_entry(bed: Bed) -> None:
    bed.register(None)
    first, hint = refused(bed)
    assert first == f"job {JOB} is not run: its prologue did not complete on this node"
    assert hint.startswith("hint: submit it again")


@pytest.mark.parametrize("text", ["", "bare", "bare\n\n", "bare /tmp\n", "guest tmp\n", "guest /x"])
def test_half_written_entry(bed: Bed, text: str) -> None:
    bed.register(text)
    assert "can't be used" in refused(bed)[0]


def test_entry_that_others_can_write(bed: Bed) -> None:
    bed.register("bare\n").chmod(0o664)
    assert "others than root can write it" in refused(bed)[0]


def test_entry_of_the_owner_in_a_registry_of_theirs(bed: Bed) -> None:
    mine = bed.home / "run"
    (mine / "jobs").mkdir(parents=True, exist_ok=True)
    (mine / "jobs" / JOB).write_text("bare\n")
    bed.give(mine / "jobs" / JOB, 0o644)
    bed.run, run = mine, bed.run
    try:
        assert "others than root" in refused(bed)[0]
    finally:
        bed.run = run


def test_entry_that_is_a_link(bed: Bed) -> None:
    bed.register("bare\n").rename(bed.top / "elsewhere")
    (bed.run / "jobs" / JOB).symlink_to(bed.top / "elsewhere")
    assert "can't be used" in refused(bed)[0]


def test_failed_guest_tells_cause_cure_phase_and_console(bed: Bed) -> None:
    bed.describe(
        {
            "state": "failed",
            "job": JOB,
            "message": "the guest's kernel panicked",
            "hint": "choose another image",
            "phase": "boot",
            "console": ["[ 1.2] VFS: no root", "\x1b[31mKernel panic\x1b[0m"],
        }
    )
    assert refused(bed) == [
        "the guest's kernel panicked",
        "hint: choose another image",
        "phase: boot",
        "the guest's console ended with:",
        "| [ 1.2] VFS: no root",
        "|  [31mKernel panic [0m",
    ]


def test_starting_guest(bed: Bed) -> None:
    bed.describe({"state": "starting", "job": JOB})
    assert refused(bed)[0] == "the prologue was ended before the guest was ready"


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "-oProxyCommand=touch /tmp/x"},
        {"host": "a b"},
        {"user": "a;b"},
        {"port": "x"},
        {"enter": "/bin/sh -c id"},
        {"key": "/etc/shadow"},
        {"alias": ""},
        {"state": "odd"},
        {"known_hosts": None},
    ],
)
def test_damaged_description(bed: Bed, changes: dict[str, Any]) -> None:
    bed.ready(**changes)
    assert "guest.json can't be used: " in refused(bed)[0]


def test_description_that_is_not_there(bed: Bed) -> None:
    (bed.jobdir / "guest.json").unlink()
    assert refused(bed)[0].endswith("guest.json can't be used: it is not there")


def test_description_of_somebody_else(bed: Bed) -> None:
    os.chown(bed.jobdir / "guest.json", 0, 0)
    assert "the job belongs to somebody else" in refused(bed)[0]


def test_guest_with_another_host_key(bed: Bed) -> None:
    known = bed.jobdir / "known_hosts"
    text = known.read_text()
    known.write_text(text.split()[0] + " " + (bed.jobdir / "id_ed25519.pub").read_text())
    try:
        assert "Host key verification failed" in refused(bed)[0]
    finally:
        known.write_text(text)


def test_guest_that_does_not_listen(bed: Bed) -> None:
    bed.ready(port=1)
    assert "Connection refused" in refused(bed)[0]


def test_job_without_an_id(bed: Bed) -> None:
    environment = bed.environment()
    del environment["PBS_JOBID"]
    assert refused(bed, environment=environment)[0].startswith("no job: ")


def test_usage(bed: Bed) -> None:
    done = bed.call("--help")
    assert done.returncode == 2
    assert done.stderr.startswith(b"usage: remoteshell JOBID")


def bare(bed: Bed, *words: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
    bed.register("bare\n")
    return bed.call(*words, **more)


def test_bare_job_gets_its_login_shell(bed: Bed) -> None:
    text = "#!/bin/sh\ntr '\\0' ' ' </proc/$PPID/cmdline; exit 42\n"
    bed.write_script(text)
    done = bare(bed, "/bin/bash", stdin=f"{bed.script}\n".encode())
    assert (done.returncode, done.stdout, done.stderr) == (42, b"-bash ", b"")


def test_bare_job_gets_its_process_as_it_was(bed: Bed, tmp_path: Path) -> None:
    """What a program sees of itself must be the same without remoteshell."""
    probe = bed.top / "probe"
    probe.write_text(
        "#!/usr/bin/python3 -IS\nimport json, os, sys\n"
        "env = open('/proc/self/environ').read()\n"
        "sig = [l for l in open('/proc/self/status') if l.startswith(('SigB', 'SigP'))]\n"
        "fds = sorted(os.listdir('/proc/self/fd'))\n"
        "print(json.dumps([sys.argv, env, sig, fds, os.getcwd(), os.umask(0), os.getsid(0)"
        " == os.getpid()]))\n"
    )
    probe.chmod(0o755)
    environment = {"PBS_JOBID": JOB, "BASH_FUNC_x%%": "() { :; }", "PATH": "/bin:/usr/bin"}
    options = {"environment": environment, "umask": 0o027}
    through = bare(bed, str(probe), "a b", "", **options)
    direct = subprocess.run(
        [probe, "a b", ""],
        env=environment,
        umask=0o027,
        cwd=bed.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        user=bed.uid,
        group=bed.gid,
        extra_groups=[],
        start_new_session=True,
        check=True,
    )
    assert json.loads(through.stdout) == json.loads(direct.stdout)


def test_bare_job_has_no_signal_ignored(bed: Bed) -> None:
    done = bare(bed, "grep", "^SigIgn", "/proc/self/status")
    assert done.stdout.split() == [b"SigIgn:", b"0" * 16]


def test_bare_task_is_found_on_the_path(bed: Bed) -> None:
    done = bare(bed, "printf", "%s|", "a b", "c'd")
    assert (done.returncode, done.stdout) == (0, b"a b|c'd|")


def test_bare_task_of_one_absolute_word_is_no_login_shell(bed: Bed) -> None:
    assert bare(bed, "/usr/bin/id", "-un").stdout == f"{OWNER}\n".encode()
    assert bare(bed, "/bin/hostname").returncode == 0


def test_bare_shell_that_is_missing(bed: Bed) -> None:
    done = bare(bed, "/no/such/shell", stdin=b"")
    assert done.returncode == 254
    assert done.stderr == b"vmbatch: can't start /no/such/shell: No such file or directory\n"


def test_nothing_of_the_users_chooses_code(bed: Bed) -> None:
    evil = bed.home / "evil"
    evil.mkdir(exist_ok=True)
    for name in ("sitecustomize.py", "usercustomize.py", "os.py", "vmbatch.py", "json.py"):
        (evil / name).write_text("open('/dev/stderr', 'w').write('EVIL')\n")
    (evil / "rc").write_text("echo EVIL >&2\n")
    more = {
        "PYTHONPATH": str(evil),
        "PYTHONSTARTUP": str(evil / "os.py"),
        "PYTHONHOME": str(evil),
        "PYTHONUSERBASE": str(evil),
        "BASH_ENV": str(evil / "rc"),
        "ENV": str(evil / "rc"),
        "VMBATCH_RUN": str(evil),
        "VMBATCH_CONFIG": str(evil),
    }
    bed.register(None)
    done = bed.call("/bin/bash", environment=bed.environment(**more), stdin=b"", cwd=evil)
    assert done.returncode == 125
    assert b"EVIL" not in done.stderr
    assert b"prologue did not complete" in done.stderr
