"""A batch job in the guest: streams, status, environment, limits are its own."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess

import pytest
from remoteshell_bed import JOB, Bed, bed, settled, shared_bed

pytestmark = pytest.mark.contract
__all__ = ["bed", "shared_bed"]


@pytest.mark.parametrize("status", [0, 42, 125, 255])
def test_exit_status(bed: Bed, status: int) -> None:
    done = bed.batch(f"#!/bin/sh\nexit {status}\n")
    assert (done.returncode, done.stdout, done.stderr) == (status, b"", b"")


@pytest.mark.parametrize(("name", "number"), [("TERM", 143), ("KILL", 137)])
def test_a_script_that_kills_itself(bed: Bed, name: str, number: int) -> None:
    done = bed.batch(f"#!/bin/sh\nkill -s {name} $$\n")
    assert done.returncode == number


def test_streams_are_apart_and_arguments_arrive(bed: Bed) -> None:
    done = bed.batch('#!/bin/sh\necho "out $#:$2"; echo err >&2\n', arguments=" one 'two  words'")
    assert (done.stdout, done.stderr) == (b"out 2:two  words\n", b"err\n")


def test_script_without_interpreter_line_is_read_by_the_shell(bed: Bed) -> None:
    done = bed.batch("a=(one two); echo ${a[1]} $BASH_VERSION\n")
    assert done.stdout.startswith(b"two 5"), done.stderr


def test_script_is_in_the_guest_under_its_own_path(bed: Bed) -> None:
    text = bytes(range(256)) * 5000  # 1.28 MB of anything, behind an exit
    done = bed.batch(b'#!/bin/sh\necho "$0"; sha256sum <"$0"; stat -c %a "$0"; exit\n' + text)
    expected = hashlib.sha256(bed.script.read_bytes()).hexdigest()
    assert done.stdout.decode().split() == [str(bed.script), expected, "-", "700"]


def test_script_copy_goes_before_what_stands_at_the_path(bed: Bed) -> None:
    bed.ready(script_copy="#!/bin/sh\necho the copy \udce9\n")
    done = bed.batch("#!/bin/sh\necho the wrapper\n")
    assert done.stdout == b"the copy \xe9\n"


def test_login_shell_with_its_profile(bed: Bed) -> None:
    profile = bed.home / ".bash_profile"
    profile.write_text("export FROM_PROFILE=yes; shopt -q login_shell && export LOGIN=yes\n")
    done = bed.batch("#!/bin/sh\necho $FROM_PROFILE $LOGIN\n")
    profile.unlink()
    assert done.stdout == b"yes yes\n"


def test_shell_that_the_guest_has_not(bed: Bed) -> None:
    bed.write_script("#!/bin/sh\necho ran\n")
    done = bed.call("/opt/site/bash", stdin=f"{bed.script}\n".encode())
    assert (done.returncode, done.stdout) == (0, b"ran\n")
    assert b"vmbatch: warning: /opt/site/bash is not in the guest" in done.stderr


def test_ten_megabytes_both_ways(bed: Bed) -> None:
    data = os.urandom(10_000_000)
    done = bed.batch("#!/bin/sh\ntee /dev/stderr\n", stdin=data)
    assert done.returncode == 0
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()
    assert hashlib.sha256(done.stderr).digest() == hashlib.sha256(data).digest()


def test_end_of_input_arrives_while_output_goes_on(bed: Bed) -> None:
    done = bed.batch("#!/bin/sh\nwc -c; sleep 0.3; echo after\n", stdin=b"abc")
    assert done.stdout == b"3\nafter\n"


def test_job_that_reads_nothing_of_a_big_input(bed: Bed) -> None:
    done = bed.batch("#!/bin/sh\nexec sleep 0.2\n", stdin=bytes(3_000_000))
    assert done.returncode == 0


def test_writing_to_dev_stderr(bed: Bed) -> None:
    done = bed.batch("#!/bin/sh\necho one >/dev/stdout; echo two >/dev/stderr\n")
    assert (done.stdout, done.stderr) == (b"one\n", b"two\n")


@pytest.mark.parametrize("words", [["yes"], ["sh", "-c", "yes; exit 7"]])
def test_closed_output_ends_the_writer(bed: Bed, words: list[str]) -> None:
    job = bed.start(*words, stdin=subprocess.DEVNULL)
    assert job.stdout is not None
    assert job.stdout.read(4) == b"y\ny\n"
    job.stdout.close()
    assert job.wait(10) in (128 + signal.SIGPIPE, 7)
    assert job.stderr is not None
    job.stderr.close()


def test_missing_descriptors(bed: Bed) -> None:
    bed.write_script(f"#!/bin/sh\necho ran >{bed.home}/ran\n")
    command = 'exec 3<"$0"; exec "$@" 1>&- 2>&- 3<&-'
    done = subprocess.run(
        ["sh", "-c", command, "/dev/null", *map(str, bed.start_words("/bin/bash"))],
        input=f"{bed.script}\n".encode(),
        env=bed.environment(),
        user=bed.uid,
        group=bed.gid,
        check=False,
        timeout=20,
    )
    assert done.returncode == 0
    assert (bed.home / "ran").read_text() == "ran\n"


def test_environment_byte_for_byte(bed: Bed) -> None:
    odd = {
        b"EMPTY": b"",
        b"NEWLINES": b"a\n\nb\n",
        b"QUOTES": b"'\"`$(exit 9)\\ !*?~",
        b"EQUALS": b"=a=b=",
        b"BYTES": bytes(range(1, 256)),
        b"UNICODE": "übér 漢字".encode(),
        b"BASH_FUNC_module%%": b'() {  echo "$1"\n}',
        b"a-b.c d": b"not an identifier",
        b"-x": b"looks like an option",
        b"BIG": b"x" * 100_000,
        b"LC_CTYPE": b"C",
    }
    many = {f"V{n}".encode(): f"value {n}".encode() for n in range(10_000)}
    own = {k.encode(): v.encode() for k, v in bed.environment().items()}
    here = {**own, **many, **odd, b"SSH_AUTH_SOCK": b"/nowhere"}
    done = bed.call("/usr/bin/env", "-0", environment=here)
    assert done.stderr == b""
    there = dict(line.split(b"=", 1) for line in done.stdout.split(b"\0")[:-1] if line[:1] != b"=")
    del here[b"SSH_AUTH_SOCK"]
    assert there == here


def test_nothing_is_added_to_a_small_environment(bed: Bed) -> None:
    done = bed.call("/usr/bin/env", "-0", environment={"PBS_JOBID": JOB})
    assert done.stdout == f"PBS_JOBID={JOB}\0".encode()


def test_files_that_variables_name(bed: Bed) -> None:
    nodes = bed.top / "nodes"
    nodes.write_text("vm2\nvm2\nvm\n")
    missing = bed.top / "no/such"
    more = {"PBS_NODEFILE": str(nodes), "PBS_GPUFILE": str(missing), "TMPDIR": str(missing)}
    done = bed.batch(
        '#!/bin/sh\nid -u; cat "$PBS_NODEFILE"; echo "$PBS_GPUFILE"; test -w "$TMPDIR" && echo w\n',
        environment=bed.environment(**more),
    )
    assert done.stdout.decode() == f"{bed.uid}\nvm2\nvm2\nvm\n{missing}\nw\n"


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_umask(bed: Bed, mask: int) -> None:
    assert bed.batch("#!/bin/sh\numask\n", umask=mask).stdout == b"%04o\n" % mask


def test_limits(bed: Bed) -> None:
    limits = {
        resource.RLIMIT_CORE: (512, 1024),
        resource.RLIMIT_FSIZE: (512_000_000, 1_024_000_000),
        resource.RLIMIT_NOFILE: (300, 400),
        resource.RLIMIT_STACK: (4 << 20, 16 << 20),
        resource.RLIMIT_DATA: (1 << 30, 2 << 30),
        resource.RLIMIT_CPU: (1000, 2000),
        resource.RLIMIT_AS: (3 << 30, 4 << 30),
    }

    def set_limits() -> None:
        for which, values in limits.items():
            resource.setrlimit(which, values)

    done = bed.batch(
        "#!/usr/bin/python3\nimport resource\n"
        f"for n in {sorted(limits)}: print(n, *resource.getrlimit(n))\n",
        preexec_fn=set_limits,
    )
    expected = "".join(f"{n} {a} {b}\n" for n, (a, b) in sorted(limits.items()))
    assert done.stdout.decode() == expected, done.stderr


def test_working_directory(bed: Bed) -> None:
    place = bed.home / "it's a place"
    place.mkdir(exist_ok=True)
    done = bed.batch("#!/bin/sh\npwd\n", cwd=place)
    assert (done.stdout.decode(), done.stderr) == (f"{place}\n", b"")


def test_working_directory_that_the_guest_has_not(bed: Bed) -> None:
    hidden = bed.top / "hidden"
    hidden.mkdir(mode=0o700, exist_ok=True)
    (hidden / "x").mkdir(exist_ok=True)
    done = bed.batch("#!/bin/sh\npwd\n", cwd=hidden / "x")
    assert done.stdout.decode() == f"{bed.home}\n"
    warning = f"vmbatch: warning: {hidden}/x is not in the guest; the job starts in {bed.home}\n"
    assert done.stderr.decode() == warning


def test_signals_start_at_their_defaults(bed: Bed) -> None:
    done = bed.batch("#!/bin/sh\ngrep -E '^Sig(Ign|Blk)' /proc/self/status\n")
    assert done.stdout.split() == [b"SigBlk:", b"0" * 16, b"SigIgn:", b"0" * 16]


def test_background_children_do_not_hold_the_job(bed: Bed) -> None:
    done = bed.batch("#!/bin/sh\nsleep 301 &\necho done; exit 3\n")
    assert (done.returncode, done.stdout) == (3, b"done\n")
    assert settled(lambda: not bed.processes("sleep 301"), 1)


def test_children_that_left_the_session_do_not_hold_the_job(bed: Bed) -> None:
    done = bed.batch("#!/bin/sh\nsetsid sleep 302 &\nsleep 0.2; echo done; exit 4\n")
    assert (done.returncode, done.stdout) == (4, b"done\n")
    for pid in bed.processes("sleep 302"):
        os.kill(pid, signal.SIGKILL)


def test_slow_reader_gets_everything(bed: Bed) -> None:
    bed.write_script("#!/bin/sh\nhead -c 3000000 /dev/zero\n")
    job = bed.start("/bin/bash", bufsize=0)
    assert job.stdin is not None
    assert job.stdout is not None
    job.stdin.write(f"{bed.script}\n".encode())
    job.stdin.close()
    settled(lambda: False, 2.5)
    size = 0
    while data := job.stdout.read(1 << 20):
        size += len(data)
    assert (job.wait(10), size) == (0, 3_000_000)
    assert job.stderr is not None
    job.stderr.close()


def test_nothing_is_left(bed: Bed) -> None:
    bed.batch("#!/bin/sh\nexit 0\n")
    assert settled(lambda: bed.leftovers() == []), bed.leftovers()
