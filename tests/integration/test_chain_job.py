"""The job in a guest is the job on the bare node: streams, status, signals, place, files."""

from __future__ import annotations

import os
import platform
import pty
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest
from testbed import ROOT, USER, VMBATCH, Testbed

pytestmark = pytest.mark.integration


def test_the_example_runs_in_a_guest(node: Testbed) -> None:
    done = node.job(str(ROOT / "examples" / "hello.sh"))
    assert done.status == 0, done.errors
    assert platform.node() not in done.text.split()
    assert platform.release() not in done.text
    uid = node.home.stat().st_uid
    assert f"uid={uid}({USER})" in done.text
    assert "PBS_JOBID=" in done.text


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_the_exit_status_is_the_jobs(node: Testbed, status: int) -> None:
    done = node.job(str(ROOT / "examples" / "exitcode.sh"), str(status))
    assert done.status == status, done.errors


def test_a_script_that_dies_of_a_signal(node: Testbed) -> None:
    done = node.job(node.script("#!/bin/sh\nkill -9 $$\n"))
    assert done.status == 137


def test_streams_are_apart_and_binary_clean(node: Testbed) -> None:
    script = node.script(
        "#!/bin/bash\n"
        'for i in {0..255}; do printf "\\\\x$(printf %02x $i)"; done\n'
        "printf 'no newline at the end' >&2\n"
    )
    done = node.job(script)
    assert done.out == bytes(range(256))
    assert done.err == b"no newline at the end"


def test_ten_megabytes_of_output(node: Testbed) -> None:
    done = node.job(node.script("#!/bin/sh\nhead -c 10485760 /dev/zero\necho end >&2\n"))
    assert len(done.out) == 10 * 1024 * 1024
    assert done.err == b"end\n"


def test_standard_input_reaches_the_job(node: Testbed) -> None:
    data = bytes(range(256)) * 4096
    script = node.script("#!/bin/sh\nmd5sum\n")
    done = node.job("--stdin", script, stdin=data)
    expected = subprocess.run(["md5sum"], input=data, capture_output=True, check=True).stdout
    assert done.out == expected, done.errors


def test_place_environment_umask_and_arguments(node: Testbed) -> None:
    script = node.script(
        '#!/bin/bash\npwd\necho "$PBS_O_WORKDIR"\necho "$GREETING"\nulimit -Sn\numask\necho "$0"\n'
        'printf "<%s>" "$@"\n'
    )
    submission = ("-v", 'GREETING=it\'s $HOME; "so"', script, "a b", "*")
    done = node.job(*submission)
    bare = node.vmbatch("local", "run", "-u", USER, *submission)
    lines = done.text.splitlines()
    assert lines[0] == str(node.home), done.errors
    assert lines[1] == str(node.home)
    assert lines[2] == 'it\'s $HOME; "so"'
    assert int(lines[3]) > 0
    assert lines[4] == bare.text.splitlines()[4]
    assert lines[5].endswith(".SC")
    assert lines[6] == "<a b><*>"


@pytest.mark.parametrize("way", ["9p", "smb"])
def test_what_the_job_writes_is_the_owners_on_the_host(node: Testbed, way: str) -> None:
    node.configure(shares={"mode": way})
    script = node.script(
        "#!/bin/sh\nfindmnt -n -o FSTYPE $HOME 2>/dev/null || grep $HOME /proc/mounts\n"
        "echo from the guest > result\nchmod 640 result\nmkdir -p sub\nln -sf result sub/link\n"
    )
    done = node.job(script)
    assert done.status == 0, done.errors
    assert {"9p": "9p", "smb": "cifs"}[way] in done.text
    result = node.home / "result"
    assert result.read_text() == "from the guest\n"
    stat = result.stat()
    assert (stat.st_uid, stat.st_gid) == (node.home.stat().st_uid, node.home.stat().st_gid)
    assert stat.st_mode & 0o777 == 0o640
    assert (node.home / "sub" / "link").readlink() == Path("result")
    result.unlink()


def test_shares_can_be_switched_off(node: Testbed) -> None:
    node.configure(shares={"mode": "off"})
    done = node.job(node.script("#!/bin/sh\npwd\necho lost > result\n"))
    assert (done.status, done.text) == (0, f"{node.home}\n"), done.errors
    assert not (node.home / "result").exists()


def test_a_guest_that_is_asked_by_logging_in(node: Testbed) -> None:
    node.configure(profiles={"default": {"ready": "ssh"}})
    done = node.job(str(ROOT / "examples" / "exitcode.sh"), "6")
    assert done.status == 6, done.errors


def test_without_a_job_starter_a_wrapper_leads_the_job_into_its_guest(node: Testbed) -> None:
    config = node.base / "local" / "mom_priv" / "config"
    ours = config.read_text()
    config.write_text("$prologalarm 300\n")
    try:
        script = node.script('#!/bin/bash\nuname -n\necho "$0"; echo "<$1>"; cat; exit 7\n')
        done = node.job(script, "a b")
    finally:
        config.write_text(ours)
    assert done.status == 7, done.errors
    host, zero, argument = done.text.splitlines()
    assert host.startswith("vm-")
    assert zero.endswith(".SC")
    assert argument == "<a b>"


def test_qemu_runs_as_the_owner_without_any_capability(node: Testbed) -> None:
    running = node.start(*_local(node, node.script("#!/bin/sh\necho up\nsleep 20\n")))
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        pids = subprocess.run(
            ["pgrep", "-u", USER, "qemu-system"], capture_output=True, text=True, check=True
        ).stdout.split()
        assert len(pids) == 1
        with open(f"/proc/{pids[0]}/status") as stream:  # noqa: PTH123
            status = dict(line.split(":", 1) for line in stream if ":" in line)
        uid = str(node.home.stat().st_uid)
        assert status["Uid"].split() == [uid] * 4
        assert int(status["CapEff"], 16) == 0
        assert int(status["CapBnd"], 16) >= 0
        assert status["Seccomp"].strip() == "2"
    finally:
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=30)


@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "TERM"), (signal.SIGINT, "INT")])
def test_a_signal_reaches_a_trap_in_the_script(
    node: Testbed, number: signal.Signals, name: str
) -> None:
    script = node.script(
        f"#!/bin/bash\ntrap 'echo trapped {name}; exit 7' {name} TERM\necho up\n"
        "for i in $(seq 300); do sleep 0.1; done\n"
    )
    running = node.start(*_local(node, script))
    assert running.stdout is not None
    assert running.stdout.readline() == b"up\n"
    running.send_signal(number)
    out, err = running.communicate(timeout=30)
    assert b"trapped" in out, err
    assert running.returncode not in (0, 125)


def test_walltime_ends_the_job(node: Testbed) -> None:
    script = node.script(
        "#!/bin/sh\ntrap 'echo last words; exit 1' TERM\necho up\nsleep 60 & wait\n"
    )
    done = node.vmbatch(
        *("local", "run", "-u", USER, "-l", "walltime=2,other=vbuserimage=tiny", script)
    )
    assert "walltime" in done.errors
    assert "last words" in done.text
    assert done.status != 0


def test_an_interactive_job_has_a_terminal_with_its_size(node: Testbed) -> None:
    argv = node.inside([VMBATCH, "local", "run", "-u", USER, "-I", "-l", "other=vbuserimage=tiny"])
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(node.environment({"TERM": "vt100"}))
        os.execvp(argv[0], argv)
    import fcntl
    import struct
    import termios

    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    seen = _converse(
        fd,
        [
            (b"$ ", b"stty size; tty; echo $TERM; hostname\n"),
            (b"vt100", b"sleep 100\n"),
            (b"sleep 100", b"\x03"),
            (b"$ ", b"exit 3\n"),
        ],
    )
    _, status = os.waitpid(pid, 0)
    os.close(fd)
    assert b"33 101" in seen, seen
    assert b"/dev/pts/" in seen
    assert os.waitstatus_to_exitcode(status) == 3


def _converse(fd: int, exchanges: list[tuple[bytes, bytes]]) -> bytes:
    """Answer each prompt in turn; the rest is read to the end."""
    seen = b""
    position = 0
    end = time.monotonic() + 60
    pending = list(exchanges)
    while time.monotonic() < end:
        if not select.select([fd], [], [], 0.2)[0]:
            continue
        try:
            data = os.read(fd, 4096)
        except OSError:
            break
        if not data:
            break
        seen += data
        if pending and pending[0][0] in seen[position:]:
            position = len(seen)
            time.sleep(0.5)
            os.write(fd, pending.pop(0)[1])
    return seen


def _local(node: Testbed, script: str) -> list[str]:
    return [VMBATCH, "local", "run", "-u", USER, "-l", "other=vbuserimage=tiny", script]
