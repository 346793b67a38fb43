"""A libvirtd of the tests' own, in its own mount and network namespace, and a site to go with it.

The node's libvirt is not touched: another daemon runs over bind mounts of its directories.
`/dev/kvm` is hidden there, so that every run takes the same way on every machine.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
VMBATCH = str(ROOT / ".venv" / "bin" / "vmbatch")
USER = "vbtest0"

_START = r"""
set -e
mkdir -p /run/libvirt
for pair in etc:/etc lib:/var/lib run:/run cache:/var/cache log:/var/log; do
    mount --bind "$BED/${pair%%:*}" "${pair#*:}/libvirt"
done
[ ! -e /dev/kvm ] || mount --bind "$BED/nokvm" /dev/kvm
ip link set lo up
virtlogd -d -p /run/libvirt/virtlogd.pid </dev/null >/dev/null 2>&1
libvirtd -d -p /run/libvirt/libvirtd.pid </dev/null >/dev/null 2>&1
"""


@dataclass(frozen=True)
class Done:
    """What a command did."""

    status: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        return self.out.decode(errors="replace")

    @property
    def errors(self) -> str:
        return self.err.decode(errors="replace")


@dataclass(frozen=True)
class Testbed:
    """A node of the tests' own."""

    __test__ = False

    base: Path
    pid: int
    images: Path

    @property
    def state(self) -> Path:
        return self.base / "state"

    @property
    def run_dir(self) -> Path:
        return self.base / "vmbatch-run"

    @property
    def site_file(self) -> Path:
        return self.base / "vmbatch.yaml"

    @property
    def home(self) -> Path:
        return Path(pwd.getpwnam(USER).pw_dir)

    def inside(self, argv: Sequence[str]) -> list[str]:
        """Return the argv that runs `argv` in the namespaces of the daemon."""
        return ["nsenter", "-t", str(self.pid), "-m", "-n", f"--wd={self.home}", *argv]

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**os.environ, "VMBATCH_CONFIG": str(self.site_file), **(extra or {})}

    def run(
        self,
        *argv: str,
        stdin: bytes = b"",
        timeout: float = 120,
        env: Mapping[str, str] | None = None,
    ) -> Done:
        done = subprocess.run(
            self.inside(argv),
            input=stdin,
            capture_output=True,
            timeout=timeout,
            env=self.environment(env),
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *argv: str, **kwargs: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            self.inside(argv),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment(),
            **kwargs,
        )

    def vmbatch(self, *argv: str, **kwargs: object) -> Done:
        return self.run(VMBATCH, *argv, **kwargs)  # type: ignore[arg-type]

    def job(self, *argv: str, request: str = "vbuserimage=tiny", **kwargs: object) -> Done:
        """Run `vmbatch local run` for a job that asks for a guest."""
        return self.vmbatch("local", "run", "-u", USER, "-l", f"other={request}", *argv, **kwargs)

    def script(self, text: str, name: str = "job.sh") -> str:
        """Write a job script of the user's and return its path."""
        path = self.home / name
        path.write_text(text)
        shutil.chown(path, USER)
        path.chmod(0o755)
        return str(path)

    def configure(self, **sections: object) -> None:
        """Write the site file: the tests' own paths, and what else is given."""
        site = {
            "paths": {
                "state": str(self.state),
                "run": str(self.run_dir),
                "images": str(self.images),
                "log": str(self.base / "log" / "vmbatch.log"),
            },
            "local": {"user": USER, "home": str(self.base / "local")},
            **sections,
        }
        self.site_file.write_text(yaml.safe_dump(site))

    def domains(self) -> list[str]:
        return self.run("virsh", "list", "--all", "--name").text.split()

    def leftovers(self) -> list[str]:
        """Return everything that a finished job should have removed."""
        left = [f"domain {name}" for name in self.domains()]
        for directory in ("jobs", "attempts"):
            left += [str(path) for path in (self.state / directory).glob("*")]
        for directory in ("jobs", "ports", "locks"):
            left += [str(path) for path in (self.run_dir / directory).glob("*")]
        left += [f"process {line}" for line in processes_of(USER)]
        spool = self.base / "local"
        left += [str(path) for path in spool.glob("mom_priv/jobs/*")]
        left += [str(path) for path in spool.glob("spool/*")]
        return left


def processes_of(user: str) -> list[str]:
    """Return the living processes of a user."""
    done = subprocess.run(
        ["ps", "-u", user, "-o", "pid=,stat=,args="], capture_output=True, text=True, check=False
    )
    return [line for line in done.stdout.splitlines() if line.split()[1][0] != "Z"]


def start(base: Path, images: Path) -> Testbed:
    """Start the daemons over copies of the node's libvirt directories."""
    base.chmod(0o755)
    for name in ("etc", "lib", "run", "cache", "log"):
        (base / name).mkdir()
        (base / name).chmod(0o755)
    shutil.copytree("/etc/libvirt", base / "etc", dirs_exist_ok=True)
    for domain in (base / "etc" / "qemu").glob("*.xml"):
        domain.unlink()
    for directory in ("networks", "autostart"):
        shutil.rmtree(base / "etc" / "qemu" / directory, ignore_errors=True)
    # Hiding /dev/kvm is incompatible with libvirt's own mount namespace for each guest.
    with (base / "etc" / "qemu.conf").open("a") as conf:
        conf.write("\nnamespaces = []\n")
    (base / "nokvm").touch()
    subprocess.run(
        ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", _START],
        env={**os.environ, "BED": str(base)},
        check=True,
        timeout=30,
    )
    bed = Testbed(base, _pid(base / "run" / "libvirtd.pid"), images)
    bed.configure()
    _wait_for_socket(base / "run" / "libvirt-sock")
    for name in ("qemu", "qemu/channel", "qemu/channel/target"):
        directory = base / "lib" / name
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o751)
    return bed


def stop(bed: Testbed) -> None:
    """End what `start` started."""
    for name in bed.domains():
        bed.run("virsh", "destroy", name)
    for name in ("libvirtd", "virtlogd"):
        pid = _pid(bed.base / "run" / f"{name}.pid")
        os.kill(pid, signal.SIGTERM)
        _wait_for_end(pid)


def _pid(path: Path) -> int:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            return int(path.read_text())
        except (FileNotFoundError, ValueError):
            time.sleep(0.02)
    raise TimeoutError(path)


def _wait_for_socket(path: Path) -> None:
    end = time.monotonic() + 15
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(path)
        time.sleep(0.02)


def _wait_for_end(pid: int) -> None:
    end = time.monotonic() + 10
    stat = Path(f"/proc/{pid}/stat")
    while time.monotonic() < end:
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except FileNotFoundError:
            return
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)


def make_user(name: str) -> Iterator[str]:
    """Make an ordinary user for as long as the tests run."""
    subprocess.run(["useradd", "-m", "-s", "/bin/bash", name], check=True)
    Path(pwd.getpwnam(name).pw_dir).chmod(0o700)
    try:
        yield name
    finally:
        subprocess.run(["userdel", "-r", name], check=True, capture_output=True)


PYTHON = sys.executable
