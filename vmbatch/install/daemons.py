"""libvirtd and virtlogd: running, by systemd where that runs and by hand where it does not."""

from __future__ import annotations

import select
import socket
import stat
from pathlib import Path

from vmbatch.clock import Deadline
from vmbatch.errors import NodeError
from vmbatch.install.console import step
from vmbatch.process import run

SYSTEMD = Path("/run/systemd/system")
SOCKETS = {
    "virtlogd": Path("/run/libvirt/virtlogd-sock"),
    "libvirtd": Path("/run/libvirt/libvirt-sock"),
}
# QEMU runs as the job's owner, and must reach its own files below these.
PASSAGES = tuple(
    Path("/var/lib/libvirt/qemu", *below) for below in ((), ("channel",), ("channel", "target"))
)
_SECONDS = 30.0


def answers(path: Path) -> bool:
    """Whether a daemon listens on a unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(2.0)
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def start_daemons() -> None:
    """Start what does not run yet, and wait until it listens.

    Raises:
        NodeError: a daemon does not come up.
        ProgramError: it is not installed.
    """
    for name, path in SOCKETS.items():
        if answers(path):
            continue
        with step(f"starting {name}"):
            _start(name)
            _await(name, path, Deadline.after(_SECONDS))


def closed_passages(passages: tuple[Path, ...] = PASSAGES) -> tuple[tuple[Path, int], ...]:
    """Return the directories of libvirt that QEMU can't pass through, each with its mode."""
    found = ((path, stat.S_IMODE(path.stat().st_mode)) for path in passages if path.is_dir())
    return tuple((path, mode) for path, mode in found if not mode & stat.S_IXOTH)


def open_passages(passages: tuple[Path, ...] = PASSAGES) -> None:
    """Let everybody pass through them: QEMU runs as the job's owner."""
    for path, mode in closed_passages(passages):
        path.chmod(mode | stat.S_IXOTH)


def _start(name: str) -> None:
    if SYSTEMD.is_dir():
        run(["systemctl", "start", f"{name}.service"], deadline=Deadline.after(_SECONDS))
        return
    Path("/run/libvirt").mkdir(mode=0o755, exist_ok=True)
    run([name, "-d", "-p", f"/run/libvirt/{name}.pid"], deadline=Deadline.after(_SECONDS))


def _await(name: str, path: Path, deadline: Deadline) -> None:
    while not answers(path):
        if deadline.passed():
            raise NodeError(
                f"{name} does not listen on {path}",
                hint=f"see why: run {name} in the foreground, or journalctl -u {name}",
            )
        select.select([], [], [], 0.05)
