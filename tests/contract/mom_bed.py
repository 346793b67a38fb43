"""A scratch mom: its directories, a site file, a scratch user, and ways to play its events."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from vmbatch.job import Owner, find_owner
from vmbatch.joblock import start_time
from vmbatch.process import CLEAN_ENVIRONMENT

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
USER = "vbtest2"
ASKS = "other=vbuserimage=nope,nodes=1,walltime=01:00:00,neednodes=1"
BARE = "nodes=1,walltime=01:00:00,neednodes=1"


@dataclass(slots=True)
class Bed:
    """One node."""

    base: Path
    owner: Owner
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.base / "torque"

    @property
    def mom_priv(self) -> Path:
        return self.home / "mom_priv"

    @property
    def run_dir(self) -> Path:
        return self.base / "run"

    @property
    def state(self) -> Path:
        return self.base / "state"

    @property
    def log(self) -> str:
        path = self.base / "vmbatch.log"
        return path.read_text() if path.exists() else ""

    def configure(self, **sections: object) -> None:
        """Write the site file."""
        site = {
            "paths": {
                "state": str(self.state),
                "run": str(self.run_dir),
                "images": str(self.base / "images"),
                "log": str(self.base / "vmbatch.log"),
            },
            "libvirt": {"uri": "qemu+unix:///system?socket=/nowhere/libvirt-sock"},
            "local": {"user": USER, "home": str(self.base / "local"), "kill_delay": 1},
            **sections,
        }
        (self.base / "site.yaml").write_text(yaml.safe_dump(site))

    # Torque's events, played by hand.

    def script(self, job_id: str, text: str = "#!/bin/sh\nexit 5\n") -> Path:
        """Put a job's script where the server puts it."""
        path = self.script_path(job_id)
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o700)
        shutil.chown(path, USER, self.owner.group)
        return path

    def script_path(self, job_id: str) -> Path:
        return self.mom_priv / "jobs" / f"{job_id.replace('[', '-').replace(']', '')}.SC"

    def start(
        self, kind: str, arguments: Sequence[str], **kwargs: object
    ) -> subprocess.Popen[bytes]:
        """Start one of the mom's scripts, as a mom does."""
        env = {"LANG": "C.UTF-8", "PATH": "/bin:/usr/bin", "PBS_MSHOST": "vm", "PBS_NODENUM": "0"}
        env["VMBATCH_CONFIG"] = str(self.base / "site.yaml")
        env.update(kwargs.pop("env", {}))  # type: ignore[call-overload]
        process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
            [str(self.mom_priv / kind), *arguments],
            cwd=self.mom_priv,
            env=env,
            umask=0o077,
            stdin=subprocess.DEVNULL,
            stdout=kwargs.pop("stdout", subprocess.PIPE),
            stderr=kwargs.pop("stderr", subprocess.PIPE),
            start_new_session=True,
            restore_signals=False,
            **kwargs,
        )
        self.started.append(process)
        return process

    def prologue(
        self,
        job_id: str = "0.vm",
        resources: str = BARE,
        *,
        kind: str = "prologue",
        queue: str = "batch",
        **kwargs: object,
    ) -> subprocess.CompletedProcess[bytes]:
        process = self.start(kind, self.before(job_id, resources, queue), **kwargs)
        return _end(process)

    def epilogue(
        self, job_id: str = "0.vm", status: int = 0, *, kind: str = "epilogue", **kwargs: object
    ) -> subprocess.CompletedProcess[bytes]:
        return _end(self.start(kind, self.after(job_id, status), **kwargs))

    def before(self, job_id: str, resources: str = BARE, queue: str = "batch") -> list[str]:
        who = [job_id, USER, self.owner.group, "j;1"]
        return [*who, resources, queue, "", str(self.script_path(job_id))]

    def after(self, job_id: str, status: int = 0) -> list[str]:
        head = self.before(job_id)
        return [*head[:4], "899", BARE, "cput=00:00:00", *head[5:7], str(status), head[7]]

    def entry(self, slug: str = "0.vm") -> str | None:
        """Return the registry's line for a job."""
        path = self.run_dir / "jobs" / slug
        return path.read_text() if path.exists() else None

    def run_as_job(self, argv: Sequence[str], stdin: bytes, job_id: str) -> Done:
        """Run what a mom would exec for the job, as its owner."""
        process = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            check=False,
            cwd=self.owner.home,
            env={"PATH": "/bin:/usr/bin", "PBS_JOBID": job_id, "PBS_ENVIRONMENT": "PBS_BATCH"},
            user=self.owner.uid,
            group=self.owner.gid,
            extra_groups=self.owner.gids,
            start_new_session=True,
        )
        return Done(process.returncode, process.stdout, process.stderr)

    def link(self, name: str, target: Path | None = None) -> None:
        path = self.mom_priv / name
        path.unlink(missing_ok=True)
        path.symlink_to(target or SCRIPTS / name)

    def site_script(self, path: Path, text: str, mode: int = 0o755, owner: str = "root") -> Path:
        """Write an executable of the site's."""
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(mode)
        shutil.chown(path, owner)
        return path

    def job_starter(self) -> None:
        """Set the mom up with our job starter, as the installer does."""
        command = f"exec {SCRIPTS}/remoteshell --run {self.run_dir}"
        starter = self.site_script(self.mom_priv / "starter", f'#!/bin/sh\n{command} "$@"\n')
        (self.mom_priv / "config").write_text(f"$prologalarm 300\n$job_starter {starter}\n")

    # The embedded batch system.

    @property
    def local_home(self) -> Path:
        return self.base / "local"

    def job(self, text: str, name: str = "job.sh") -> str:
        path = self.base / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    def start_local(self, *argv: str, **kwargs: object) -> subprocess.Popen[bytes]:
        env = {**CLEAN_ENVIRONMENT, "VMBATCH_CONFIG": str(self.base / "site.yaml")}
        env.update(kwargs.pop("env", {}))  # type: ignore[call-overload]
        process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
            [sys.executable, "-m", "vmbatch.cli.main", "local", "run", *argv],
            env=env,
            stdin=kwargs.pop("stdin", subprocess.DEVNULL),
            stdout=kwargs.pop("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            cwd=kwargs.pop("cwd", ROOT),
            **kwargs,
        )
        self.started.append(process)
        return process

    def local(self, *argv: str, stdin: bytes | None = None, **kwargs: object) -> Done:
        """Run `vmbatch local run` to its end."""
        if stdin is not None:
            kwargs["stdin"] = subprocess.PIPE
        process = self.start_local(*argv, **kwargs)
        out, err = process.communicate(stdin, timeout=60)
        return Done(process.returncode, out, err)

    def spool_files(self) -> list[str]:
        """Return what jobs have left in the embedded batch system's spool."""
        return sorted(
            str(path.relative_to(self.local_home))
            for name in ("spool", "aux", "running", "mom_priv/jobs")
            for path in (self.local_home / name).iterdir()
        )


@dataclass(frozen=True, slots=True)
class Done:
    """A process that ended."""

    status: int
    out: bytes
    err: bytes

    @property
    def errors(self) -> str:
        return self.err.decode(errors="replace")


def _end(process: subprocess.Popen[bytes]) -> subprocess.CompletedProcess[bytes]:
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out or b"", err or b"")


def until(true: object, seconds: float = 10.0) -> None:
    """Wait until a callable gives something true."""
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        if time.monotonic() > end:
            raise TimeoutError(true)
        time.sleep(0.01)


def alive(pid: int) -> bool:
    return start_time(pid) is not None


@pytest.fixture(scope="session")
def scratch_owner() -> Iterator[Owner]:
    subprocess.run(["useradd", "-m", "-s", "/bin/bash", USER], check=False, capture_output=True)
    yield find_owner(USER)
    # Each module that imports the fixture has one of its own: the first to end removes the user.
    subprocess.run(["userdel", "-r", USER], check=False, capture_output=True)


@pytest.fixture
def bed(scratch_owner: Owner) -> Iterator[Bed]:
    base = Path(tempfile.mkdtemp(prefix="vmbatch-mom-"))
    base.chmod(0o755)
    found = Bed(base=base, owner=scratch_owner)
    for path in (found.mom_priv / "jobs", found.home / "aux"):
        path.mkdir(parents=True)
    for name in ("prologue", "epilogue", "prologue.parallel", "epilogue.parallel"):
        found.link(name)
    found.link("epilogue.precancel")
    found.configure()
    yield found
    for process in found.started:
        if process.poll() is None:
            _kill(process)
        process.communicate()
    shutil.rmtree(base)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a script with all of its session; another process alone, since its group is ours."""
    group = os.getpgid(process.pid)
    if group == os.getpgrp():
        process.kill()
    else:
        os.killpg(group, 9)
