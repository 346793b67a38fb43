"""A bed for remoteshell: real ssh servers on loopback play the guest, functions play pbs_mom."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
REMOTESHELL = ROOT / "scripts/remoteshell"
OWNER = f"vbt{os.getpid()}"
JOB = "17.vm"


class Bed:
    """One ssh server that plays the guest, and what the prologue would have left for it."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.top = Path(tempfile.mkdtemp(prefix="vbshell-", dir="/tmp"))
        self.top.chmod(0o755)
        self.run = self.top / "run"
        self.jobdir = self.top / "job"
        self.guest = self.top / "guest"
        self.home = self.top / "home"
        self.spool = self.top / "spool"
        for made in (self.run, self.run / "jobs", self.jobdir, self.guest, self.spool):
            made.mkdir()
        self.script = self.spool / f"{JOB}.SC"
        subprocess.run(
            ["useradd", "-m", "-d", self.home, "-s", "/bin/bash", "-p", "*", OWNER], check=True
        )
        entry = pwd.getpwnam(OWNER)
        self.uid, self.gid = entry.pw_uid, entry.pw_gid
        self.process: subprocess.Popen[bytes] | None = None
        self._prepare_guest()
        self._make_keys()
        self.port = _free_port()
        self.start_server()
        self.ready()

    def _prepare_guest(self) -> None:
        (self.guest / "jobs").mkdir(mode=0o700)
        os.chown(self.guest / "jobs", self.uid, self.gid)
        os.chown(self.spool, self.uid, self.gid)
        text = (ROOT / "scripts-vm/enter").read_text()
        if self.server == "dropbear":  # and a guest with nothing but busybox
            tools = self.guest / "bin"
            tools.mkdir()
            subprocess.run(["busybox", "--install", "-s", tools], check=True)
            text = text.replace("#!/bin/sh\n", f"#!{tools}/sh\nPATH={tools}\nexport PATH\n", 1)
        enter = self.guest / "enter"
        enter.write_text(text)
        enter.chmod(0o755)

    def _make_keys(self) -> None:
        for key in (self.jobdir / "id_ed25519", self.top / "host"):
            subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", key], check=True)
        public = (self.top / "host.pub").read_text()
        (self.jobdir / "known_hosts").write_text(f"vmbatch-{JOB} {public}")
        for name in ("id_ed25519", "known_hosts"):
            self.give(self.jobdir / name, 0o400)
        ssh = self.home / ".ssh"
        ssh.mkdir(mode=0o700)
        shutil.copy(self.jobdir / "id_ed25519.pub", ssh / "authorized_keys")
        self.give(ssh / "authorized_keys", 0o600)
        self.give(ssh, 0o700)

    def give(self, path: Path, mode: int) -> None:
        path.chmod(mode)
        os.chown(path, self.uid, self.gid)

    def start_server(self) -> None:
        if self.server == "dropbear":
            key = self.top / "host.dropbear"
            subprocess.run(
                ["dropbearconvert", "openssh", "dropbear", self.top / "host", key],
                check=True,
                capture_output=True,
            )
            argv = ["dropbear", "-F", "-E", "-s", "-P", "", "-r", str(key)]
            argv += ["-p", f"127.0.0.1:{self.port}"]
        else:
            Path("/run/sshd").mkdir(exist_ok=True)
            config = self.top / "sshd_config"
            config.write_text(
                f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.top}/host\n"
                "PidFile none\nUsePAM no\nPasswordAuthentication no\nStrictModes no\n"
                "AcceptEnv SHLVL\nPrintMotd no\nPrintLastLog no\nMaxStartups 100\n"
            )
            argv = ["/usr/sbin/sshd", "-D", "-e", "-f", str(config)]
        with (self.top / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        _await_banner(self.port)

    def stop_server(self, *, connections: bool = True) -> None:
        """End the server, and its connections with it: a guest that is gone."""
        if self.process is None:
            return
        pids = _descendants(self.process.pid, "sshd" if self.server != "dropbear" else "dropbear")
        self.process.kill()
        self.process.wait()
        for pid in pids if connections else ():
            _kill(pid)
        self.process = None

    def register(self, text: str | None, job: str = JOB) -> Path:
        path = self.run / "jobs" / job
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
        return path

    def describe(self, values: dict[str, Any]) -> None:
        """Write guest.json."""
        path = self.jobdir / "guest.json"
        path.unlink(missing_ok=True)
        path.write_text(json.dumps(values))
        self.give(path, 0o400)

    def ready(self, *, script_copy: str | None = None, **changes: Any) -> None:
        copy = self.jobdir / "script"
        if script_copy is not None:
            copy.write_bytes(script_copy.encode("utf-8", "surrogateescape"))
            self.give(copy, 0o500)
        self.register(f"guest {self.jobdir}\n")
        self.describe(
            {
                "state": "ready",
                "job": JOB,
                "host": "127.0.0.1",
                "port": self.port,
                "user": OWNER,
                "key": str(self.jobdir / "id_ed25519"),
                "known_hosts": str(self.jobdir / "known_hosts"),
                "alias": f"vmbatch-{JOB}",
                "script": str(self.script),
                "script_copy": None if script_copy is None else str(copy),
                "enter": str(self.guest / "enter"),
                **changes,
            }
        )

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "USER": OWNER,
            "LOGNAME": OWNER,
            "SHELL": "/bin/bash",
            "PATH": "/bin:/usr/bin",
            "PBS_JOBID": JOB,
            "PBS_ENVIRONMENT": "PBS_BATCH",
            "PBS_TASKNUM": "1",
            **more,
        }

    def write_script(self, text: str | bytes) -> None:
        self.script.unlink(missing_ok=True)
        self.script.write_bytes(text if isinstance(text, bytes) else text.encode())
        self.give(self.script, 0o700)

    def start_words(self, *words: str) -> list[str]:
        return [str(REMOTESHELL), "--run", str(self.run), *words]

    def start(
        self,
        *words: str,
        environment: dict[Any, Any] | None = None,
        user: bool = True,
        stdin: int | IO[bytes] = subprocess.PIPE,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.PIPE,
        leader: bool = True,
        **more: Any,
    ) -> subprocess.Popen[bytes]:
        """Start remoteshell as pbs_mom does."""
        options: dict[str, Any] = {"cwd": self.home, "umask": 0o022, **more}
        if user:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return subprocess.Popen(
            self.start_words(*words),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=self.environment() if environment is None else environment,
            start_new_session=leader,
            **options,
        )

    def batch(
        self, script: str | bytes, *, arguments: str = "", stdin: bytes = b"", **more: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a batch job to its end."""
        self.write_script(script)
        job = self.start("/bin/bash", **more)
        line = f"{self.script}{arguments}\n".encode()
        out, err = job.communicate(line + stdin, timeout=30)
        return subprocess.CompletedProcess(job.args, job.returncode, out, err)

    def call(
        self, *words: str, stdin: bytes | None = None, **more: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """Run remoteshell with any arguments, by default with an empty standard input."""
        source = subprocess.DEVNULL if stdin is None else subprocess.PIPE
        job = self.start(*words, stdin=source, **more)
        out, err = job.communicate(stdin, timeout=30)
        return subprocess.CompletedProcess(job.args, job.returncode, out, err)

    def begin(self, script: str, **more: Any) -> subprocess.Popen[bytes]:
        """Start a batch job and wait for its first line, which must be `begun`."""
        self.write_script(script)
        job = self.start("/bin/bash", **more)
        assert job.stdin is not None
        assert job.stdout is not None
        job.stdin.write(f"{self.script}\n".encode())
        job.stdin.close()
        job.stdin = None
        assert job.stdout.readline() == b"begun\n"
        return job

    def processes(self, mark: str) -> list[int]:
        """Processes of the owner with `mark` in their command line."""
        return [pid for pid, line in _command_lines(self.uid) if mark in line]

    def directories(self) -> list[str]:
        return [str(path) for path in Path("/tmp").glob(f"vmbatch-{self.uid}-*")]

    def leftovers(self) -> list[str]:
        """What remoteshell may not leave: its directories, and processes of the owner."""
        lines = [line for _, line in _command_lines(self.uid)]
        return self.directories() + [line for line in lines if line != "sleep 2"]

    def close(self) -> None:
        self.stop_server()

        def none_left() -> bool:
            lines = _command_lines(self.uid)
            for pid, _ in lines:
                _kill(pid)
            return not lines

        _settle(none_left)
        subprocess.run(["userdel", OWNER], check=True, capture_output=True)
        shutil.rmtree(self.top)


def settled(condition: Any, seconds: float = 6.0) -> bool:
    """Whether a condition comes true in time."""
    return _settle(condition, seconds)


def _settle(condition: Any, seconds: float = 6.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _command_lines(uid: int) -> list[tuple[int, str]]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if path.stat().st_uid == uid:
                line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if line:
                    found.append((int(path.name), line.strip()))
        except OSError:
            continue
    return found


def _descendants(pid: int, name: str) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            try:
                comm = Path(f"/proc/{child}/comm").read_text().strip()
            except OSError:
                continue
            found += _descendants(int(child), name)
            if comm == name:
                found.append(int(child))
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_banner(port: int) -> None:
    def answers() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as link:
                return link.recv(4) == b"SSH-"
        except OSError:
            return False

    assert _settle(answers), "the ssh server did not start"


@contextmanager
def made(server: str) -> Iterator[Bed]:
    bed = Bed(server)
    try:
        yield bed
    finally:
        bed.close()


@pytest.fixture(scope="module", params=["openssh", "dropbear"])
def shared_bed(request: pytest.FixtureRequest) -> Iterator[Bed]:
    """A server of each kind, for all tests of a module."""
    with made(request.param) as bed:
        yield bed


@pytest.fixture
def bed(shared_bed: Bed) -> Bed:
    """A ready guest, whatever the test before did."""
    if shared_bed.process is None:
        shared_bed.start_server()
    shared_bed.ready()
    return shared_bed


def signal_session(leader: int, number: int) -> None:
    """Send a signal to all processes of a session, one by one, as pbs_mom does."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader:
            try:
                os.kill(int(path.parent.name), number)
            except ProcessLookupError:
                continue
