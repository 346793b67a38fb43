"""libvirtd and virtlogd: running, by systemd where that runs and by hand where it does not."""

from __future__ import annotations

import grp
import os
import select
import socket
import stat
from pathlib import Path

from vmbatch.clock import Deadline
from vmbatch.errors import NodeError
from vmbatch.install.console import say, step
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
KVM = Path("/dev/kvm")
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
    """Start what does not run yet, and wait until it listens; also let it see KVM.

    Raises:
        NodeError: a daemon does not come up.
        ProgramError: it is not installed.
    """
    share_kvm()
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


def closed_kvm(device: Path = KVM) -> bool:
    """Whether libvirt's own user can't open a KVM that root can.

    libvirt then finds at every start of a guest that what it knows of QEMU does not fit, and asks
    QEMU anew: 4 to 100 s. udev gives the device to the group kvm; where udev does not run, nobody
    does.
    """
    try:
        found = device.stat()
        group = grp.getgrnam("kvm").gr_gid
    except (FileNotFoundError, KeyError):
        return False
    others = found.st_mode & 0o006 == 0o006
    members = found.st_gid == group and found.st_mode & 0o060 == 0o060
    return not (others or members)


def share_kvm(device: Path = KVM) -> None:
    """Give the device to the group kvm, as udev does where it runs."""
    if closed_kvm(device):
        os.chown(device, -1, grp.getgrnam("kvm").gr_gid)
        device.chmod(0o660)
        say(f"== {device} now belongs to the group kvm, as udev would have it")


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
