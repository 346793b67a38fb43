"""The directories of the embedded batch system: one mom's, as Torque lays them out.

::

    HOME/mom_priv/{config,starter,prologue,…}   as an administrator sets a mom up
    HOME/mom_priv/jobs/ID.SC                    the script, the owner's, 0700
    HOME/spool/ID.{OU,ER}                       what the job prints
    HOME/aux/ID                                 its hosts, a line for each slot
    HOME/running/ID                             pid and start time of the process that runs it
    HOME/pbs_environment                        what every script and job finds in its environment
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import socket
from dataclasses import dataclass
from pathlib import Path

from vmbatch.batch.redirect import REMOTESHELL
from vmbatch.errors import NodeError, SiteError
from vmbatch.job import Owner
from vmbatch.joblock import start_time

SCRIPTS = REMOTESHELL.parent
ROOT_SCRIPTS = (
    "prologue",
    "epilogue",
    "prologue.parallel",
    "epilogue.parallel",
    "epilogue.precancel",
)
_OURS = "# Written by vmbatch local. Change it and take this line out, and it is kept as it is.\n"


@dataclass(frozen=True, slots=True)
class Spool:
    """One mom's directories.

    Args:
        home: ``$TORQUE_HOME`` of this mom.
    """

    home: Path

    @property
    def mom_priv(self) -> Path:
        """Configuration and scripts."""
        return self.home / "mom_priv"

    @property
    def config(self) -> Path:
        """The mom's configuration."""
        return self.mom_priv / "config"

    def prepare(self, run: Path, environment: dict[str, str]) -> None:
        """Make what is missing, as our installation would.

        Args:
            run: `paths.run`, for the job starter.
            environment: what ``pbs_environment`` should hold.

        Raises:
            SiteError: it can't be made.
        """
        try:
            for name, mode in (("", 0o755), ("mom_priv", 0o751), ("mom_priv/jobs", 0o751),
                               ("spool", 0o1777), ("aux", 0o755), ("running", 0o755)):  # fmt: skip
                path = self.home / name
                if not path.is_dir():
                    path.mkdir(parents=True, exist_ok=True)
                    path.chmod(mode)
            for name in ROOT_SCRIPTS:
                _link(self.mom_priv / name, SCRIPTS / name)
            starter = self.mom_priv / "starter"
            command = shlex.join([str(REMOTESHELL), "--run", str(run)])
            _write(starter, f'#!/bin/sh\n{_OURS}exec {command} "$@"\n', 0o755)
            _write(self.config, f"{_OURS}$prologalarm 300\n$job_starter {starter}\n", 0o644)
            lines = "".join(f"{name}={value}\n" for name, value in environment.items())
            _write(self.home / "pbs_environment", _OURS + lines, 0o644)
        except OSError as error:
            raise SiteError(
                f"can't set up {self.home}: {error.strerror}: {error.filename}",
                hint="see local.home in the site file: vmbatch config show",
            ) from error

    def environment(self) -> dict[str, str]:
        """Return what ``pbs_environment`` holds."""
        try:
            text = (self.home / "pbs_environment").read_text()
        except FileNotFoundError:
            return {}
        pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
        return {name: value for name, equals, value in pairs if equals}

    def next_id(self) -> str:
        """Return a job id that nobody had before."""
        host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname().split(".")[0]) or "node"
        fd = os.open(self.home / "next_id", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            number = int(os.read(fd, 32) or b"0")
            os.pwrite(fd, b"%d\n" % (number + 1), 0)
        finally:
            os.close(fd)
        return f"{number}.local-{host}"


@dataclass(frozen=True, slots=True)
class JobFiles:
    """The files of one job in the spool."""

    spool: Spool
    job_id: str

    @property
    def script(self) -> Path:
        """Named for an interactive job too, but then it is not there."""
        name = re.sub(r"\[(\d*)\]", r"-\1", self.job_id)
        return self.spool.mom_priv / "jobs" / f"{name}.SC"

    @property
    def output(self) -> Path:
        """Standard output."""
        return self.spool.home / "spool" / f"{self.job_id}.OU"

    @property
    def error(self) -> Path:
        """Standard error."""
        return self.spool.home / "spool" / f"{self.job_id}.ER"

    @property
    def hosts(self) -> Path:
        """One host a line for each slot."""
        return self.spool.home / "aux" / self.job_id

    @property
    def running(self) -> Path:
        """Who runs it."""
        return self.spool.home / "running" / self.job_id

    def claim(self) -> None:
        """Say that this process runs the job.

        Raises:
            NodeError: another one does: the id was given by hand.
        """
        try:
            fd = os.open(self.running, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            raise NodeError(
                f"a job {self.job_id} is in the spool {self.spool.home} already",
                hint=f"remove {self.running} if its process is gone",
            ) from None
        os.write(fd, f"{os.getpid()} {start_time(os.getpid())}\n".encode())
        os.close(fd)

    def send(self, script: bytes | None, owner: Owner, hosts: tuple[str, ...]) -> None:
        """Put script and hosts in place, as the server does before each attempt."""
        if script is not None:
            _replace(self.script, script, 0o700, owner)
        _replace(self.hosts, "".join(f"{host}\n" for host in hosts).encode(), 0o644, None)

    def remove(self, *, keep_output: bool = False) -> None:
        """Forget the job; what was not delivered stays if `keep_output`."""
        for path in (self.script, self.hosts):
            path.unlink(missing_ok=True)
        if not keep_output:
            self.output.unlink(missing_ok=True)
            self.error.unlink(missing_ok=True)
        self.running.unlink(missing_ok=True)


def _replace(path: Path, data: bytes, mode: int, owner: Owner | None) -> None:
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(fd, "wb", closefd=False) as stream:
            stream.write(data)
        if owner is not None:
            os.fchown(fd, owner.uid, owner.gid)
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _link(link: Path, target: Path) -> None:
    """Link a script of ours where nothing is, or where another copy of us was linked."""
    if link.is_symlink() and _is_other_copy(link.readlink(), target):
        link.unlink()
    if os.path.lexists(link):
        return
    try:
        link.symlink_to(target)
    except FileExistsError:
        return


def _is_other_copy(linked: Path, target: Path) -> bool:
    """Whether a link leads to another installation of ours, or to one that is gone."""
    if linked == target or linked.parts[-2:] != target.parts[-2:]:
        return False
    return not linked.exists() or (linked.parents[1] / "vmbatch" / "fastpath.py").is_file()


def _write(path: Path, text: str, mode: int) -> None:
    """Write a file whole, unless somebody else wrote it or it is so already."""
    try:
        now = path.read_text()
        if _OURS not in now or now == text:
            return
    except FileNotFoundError:
        pass
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.chmod(mode)
    temporary.rename(path)
