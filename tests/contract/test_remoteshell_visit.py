"""A person enters a running job; the wrapper enters in the script's place."""

from __future__ import annotations

import os
import subprocess

import pytest
from remoteshell_bed import JOB, OWNER, REMOTESHELL, Bed, bed, shared_bed

from vmbatch.jobid import slug_of

pytestmark = pytest.mark.contract
__all__ = ["bed", "shared_bed"]


def visit(bed: Bed, *words: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nowhere", "SECRET": "s", "LANG": "C.UTF-8"}
    options: dict[str, object] = {"leader": False, "environment": environment, **more}
    return bed.call(*words, **options)  # type: ignore[arg-type]


def test_words_arrive_as_they_are(bed: Bed) -> None:
    words = ["printf", "%s|", "a  b", "", "'\"$x`id`\\", "*", "a\nb", "ü"]
    done = visit(bed, JOB, *words)
    expected = "".join(f"{word}|" for word in words[2:]).encode()
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, b"")


def test_status_input_and_command_with_an_equals_sign(bed: Bed) -> None:
    odd = bed.home / "a=b"
    odd.write_text("#!/bin/sh\ncat; exit 255\n")
    odd.chmod(0o755)
    done = visit(bed, JOB, str(odd), stdin=b"\0\xff")
    assert (done.returncode, done.stdout) == (255, b"\0\xff")
    assert visit(bed, JOB, "no-such-command").returncode == 127


def test_environment_is_the_guests_own(bed: Bed) -> None:
    done = visit(bed, JOB, "sh", "-c", 'echo "$HOME|$USER|$PBS_JOBID|$SECRET|$LANG|$PWD"')
    home = str(bed.home)
    assert done.stdout.decode().strip() == f"{home}|{OWNER}|{JOB}||C.UTF-8|{home}"


def test_shell_that_reads_commands(bed: Bed) -> None:
    done = visit(bed, JOB, stdin=b"echo in $0; exit 5\n")
    assert done.returncode == 5
    assert done.stdout.startswith(b"in ")


def test_what_a_visitor_starts_in_the_background_stays(bed: Bed) -> None:
    done = visit(bed, JOB, "sh", "-c", "sleep 321 >/dev/null 2>&1 & echo on")
    assert done.stdout == b"on\n"
    (pid,) = bed.processes("sleep 321")
    os.kill(pid, 9)


def test_root_enters_as_the_owner(bed: Bed) -> None:
    assert visit(bed, JOB, "id", "-un", user=False).stdout == f"{OWNER}\n".encode()


def test_job_starter_is_not_mistaken_for_a_visit(bed: Bed) -> None:
    tool = bed.home / "2.tool"
    tool.write_text("#!/bin/sh\necho tool\n")
    tool.chmod(0o755)
    done = bed.call("2.tool", "x", environment=bed.environment(PATH=f"{bed.home}:/bin"))
    assert done.stdout == b"tool\n", done.stderr


@pytest.mark.parametrize(
    ("registered", "message"),
    [(None, b"no job 18.vm is known on this node"), ("bare\n", b"job 18.vm runs on the bare node")],
)
def test_jobs_that_can_not_be_entered(bed: Bed, registered: str | None, message: bytes) -> None:
    bed.register(registered, "18.vm")
    done = visit(bed, "18.vm", "id")
    assert done.returncode == 125
    assert message in done.stderr


def test_array_job(bed: Bed) -> None:
    (bed.run / "jobs" / JOB).rename(bed.run / "jobs" / slug_of("186[0].vm"))
    assert visit(bed, "186[0].vm", "echo", "in").stdout == b"in\n"


@pytest.mark.parametrize("first", ["#!/bin/bash\n", ""])
def test_wrapped_script(bed: Bed, first: str) -> None:
    """The host's login shell runs the wrapper, which stands where the script was."""
    bed.ready(script_copy=f'{first}a=(x y); echo "${{a[1]}} $0 $2"; cat; exit 9\n')
    bed.write_script(f'#!/bin/sh\nexec {REMOTESHELL} --run {bed.run} --wrapped {JOB} "$@"\n')
    done = subprocess.run(
        ["/bin/bash", "-l"],
        input=f"{bed.script} one 'two three'\nrest".encode(),
        env=bed.environment(),
        cwd=bed.home,
        user=bed.uid,
        group=bed.gid,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 9, done.stderr
    assert done.stdout.decode() == f"y {bed.script} two three\nrest"
