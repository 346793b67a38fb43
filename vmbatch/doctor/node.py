"""Checks of the machine itself: programs, Python parts, space, ports, users' way to the scripts."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from vmbatch.doctor.finding import Finding, fail, ok, warn
from vmbatch.errors import VmbatchError
from vmbatch.process import CLEAN_ENVIRONMENT, missing, run

GIB = 1 << 30
MIB = 1 << 20
_LEAST_FREE = 200 * MIB
_WANTED_FREE = 2 * GIB
_OLDEST_QEMU = (7, 0)

PROGRAMS = ("qemu-img", "ssh", "ssh-keygen")
"""Programs that every guest needs, besides QEMU itself."""

PARTS: Mapping[str, str] = {
    "libvirt": "libvirt-python",
    "lxml.etree": "lxml",
    "paramiko": "paramiko",
    "pycdlib": "pycdlib",
    "yaml": "PyYAML",
}
"""Modules and the distributions that they come from."""

_AGAIN = "run setup.sh again"


def check_root(euid: int) -> Finding:
    """Tell whether the doctor sees all that there is."""
    if euid == 0:
        return ok("root", "this is root, as prologue and epilogue are")
    return warn("root", "not root: some of what follows can't be seen", "run: sudo vmbatch doctor")


def find_program(name: str) -> str | None:
    """Return where a program is, on the path that we run programs with."""
    return shutil.which(name, path=CLEAN_ENVIRONMENT["PATH"])


def check_program(name: str, path: str | None) -> Finding:
    """Tell whether a helper program is installed."""
    if path:
        return ok(name, path)
    error = missing(name)
    return fail(name, error.message, error.hint)


def check_qemu(path: str | None, version: str) -> Finding:
    """Tell whether QEMU is installed, and recent.

    Args:
        path: where it is.
        version: what ``--version`` printed.
    """
    if path is None:
        error = missing("qemu-system-x86_64")
        return fail("QEMU", error.message, error.hint)
    found = re.search(r"version (\d+)\.(\d+)\S*", version)
    if not found:
        return fail("QEMU", f"{path} does not tell its version", "reinstall qemu-system-x86")
    if (int(found[1]), int(found[2])) < _OLDEST_QEMU:
        oldest = ".".join(map(str, _OLDEST_QEMU))
        return warn("QEMU", f"{path} is {found[0]}", f"update to {oldest}, the oldest one tried")
    return ok("QEMU", f"{path}, {found[0]}")


def qemu_version(path: str | None) -> str:
    """Return what QEMU prints of its version; empty where it does not run."""
    if path is None:
        return ""
    try:
        return run([path, "--version"]).decode(errors="replace")
    except VmbatchError:
        return ""


def check_part(module: str, load: Callable[[str], object] = importlib.import_module) -> Finding:
    """Tell whether a Python part can be imported, and its version."""
    distribution = PARTS[module]
    subject = f"Python {distribution}"
    try:
        load(module)
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        version = "of unknown version"
    except ImportError as error:
        return fail(subject, f"can't be imported: {error}", _AGAIN)
    return ok(subject, version)


def check_space(directory: Path, free: int) -> Finding:
    """Tell whether disks of guests find room.

    Args:
        directory: what is, or will be, written to.
        free: bytes that are free there.
    """
    subject = f"space for {directory}"
    text = f"{free / GIB:.1f} GiB free"
    if free < _LEAST_FREE:
        return fail(subject, text, f"make room: df -h {directory}")
    if free < _WANTED_FREE:
        return warn(subject, text, f"guests write their disks there; make room: df -h {directory}")
    return ok(subject, text)


def free_bytes(directory: Path) -> int:
    """Return the free bytes where a directory is or will be made."""
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    return shutil.disk_usage(existing).free


def check_ports(first: int, last: int, local_range: str, leased: int) -> Finding:
    """Tell whether ports are left to be forwarded to guests.

    Args:
        first: `network.first_port`.
        last: `network.last_port`.
        local_range: text of ``/proc/sys/net/ipv4/ip_local_port_range``.
        leased: how many are leased to guests.
    """
    subject = "ports"
    total = last - first + 1
    if leased >= total:
        return fail(
            subject,
            f"all {total} ports from {first} to {last} are leased",
            "widen network.first_port and network.last_port, or: vmbatch reap",
        )
    text = f"{total - leased} of {total} from {first} to {last} are free"
    low, high = (int(word) for word in local_range.split()[:2])
    if first <= high and last >= low and total < 100:
        return warn(
            subject,
            f"{text}, and the node's own connections take from the same range ({low} to {high})",
            "choose network.first_port and network.last_port below it",
        )
    return ok(subject, text)


def check_samba(path: str | None, mode: str) -> Finding:
    """Tell whether shares can be served to guests whose kernel has no 9p.

    Args:
        path: where smbd is.
        mode: `shares.mode`.
    """
    if path:
        return ok("shares", f"by 9p, and by SMB ({path})")
    if mode in ("9p", "off"):
        return ok("shares", f"shares.mode is {mode}: no smbd needed")
    report = fail if mode == "smb" else warn
    cure = "apt-get install --no-install-recommends samba; or set shares.mode to 9p or off"
    return report("shares", "no smbd: guests whose kernel has no 9p get no shares", cure)


def check_reach(scripts: Path, closed: Path | None) -> Finding:
    """Tell whether the job starter, which runs as the job's owner, can be reached.

    Args:
        scripts: directory of the scripts.
        closed: the first path on the way that is closed to others, if there is one.
    """
    if closed is None:
        return ok("users", f"every user reaches {scripts}/remoteshell")
    return fail(
        "users",
        f"users can't pass {closed}, so that no job's owner reaches {scripts}/remoteshell",
        "install it where they can: ./setup.sh --prefix /opt",
    )


def check_local_user(name: str, known: Callable[[str], object]) -> Finding:
    """Tell whether the user exists to whom jobs of `vmbatch local run` belong by default."""
    try:
        known(name)
    except VmbatchError:
        return warn(
            "local.user",
            f"there is no user {name}: vmbatch local run needs -u USER",
            f"useradd --create-home {name}; or name another one in the site file",
        )
    return ok("local.user", name)


def check_trust(faults: Iterator[str]) -> Finding:
    """Tell whether root alone can change the scripts that root runs."""
    fault = next(faults, None)
    if fault is None:
        return ok("trust", "root alone can change what root runs")
    return warn("trust", fault, "install it for root alone: ./setup.sh --prefix /opt")
