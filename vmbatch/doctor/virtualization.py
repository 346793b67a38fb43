"""Checks of libvirt and of what runs the guests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vmbatch.doctor.finding import Finding, fail, ok, warn
from vmbatch.errors import VmbatchError

SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")


def check_libvirt(uri: str, connect: Callable[[str], str]) -> Finding:
    """Tell whether libvirt answers.

    Args:
        uri: `libvirt.uri`.
        connect: connects to a URI and returns what answered.
    """
    try:
        version = connect(uri)
    except ImportError as error:
        return fail("libvirt", f"no Python binding: {error}", "run setup.sh again")
    except VmbatchError as error:
        return fail(
            "libvirt",
            error.message,
            "systemctl start libvirtd; without systemd: virtlogd -d && libvirtd -d",
        )
    return ok("libvirt", f"{uri}, {version}")


def connect(uri: str) -> str:
    """Connect to libvirt and return the daemon's version."""
    from vmbatch.hypervisor.connection import Hypervisor

    with Hypervisor(uri) as hypervisor:
        count = sum(1 for _ in hypervisor.domains())
    return f"{count} guests running"


def check_virtlogd(*, listens: bool) -> Finding:
    """Tell whether the daemon runs that keeps the guests' console logs."""
    if listens:
        return ok("virtlogd", "listens")
    return fail(
        "virtlogd",
        "does not listen: libvirt can't start a guest with a console log",
        "systemctl start virtlogd; without systemd: virtlogd -d",
    )


def check_passages(closed: tuple[tuple[Path, int], ...]) -> Finding:
    """Tell whether QEMU, as the job's owner, passes through libvirt's directories.

    Args:
        closed: those that it can't pass, each with its mode.
    """
    subject = "libvirt directories"
    if not closed:
        return ok(subject, "QEMU passes through them as the job's owner")
    paths = " ".join(str(path) for path, _ in closed)
    return fail(subject, f"QEMU can't pass {paths} as the job's owner", f"chmod o+x {paths}")


def check_schema(path: Path = SCHEMA) -> Finding:
    """Tell whether libvirt's schema is there, by which it validates each domain."""
    if path.is_file():
        return ok("domain schema", str(path))
    return fail("domain schema", f"{path} is missing", "apt-get install --reinstall libvirt0")


def check_kvm(kind: str, mode: int | None, *, closed: bool) -> Finding | None:
    """Tell whether those who need KVM may open it; None where there is nothing to tell.

    Args:
        kind: the accelerator: ``kvm`` or ``tcg``.
        mode: mode of ``/dev/kvm``; None where there is none.
        closed: whether libvirt's own user can't open it.
    """
    if mode is None:
        return None
    if closed:
        return warn(
            "/dev/kvm",
            "libvirt's own user can't open it: libvirt asks QEMU anew at every start of a guest",
            "chgrp kvm /dev/kvm; chmod 660 /dev/kvm",
        )
    if kind == "kvm" and mode & 0o006 != 0o006:
        return warn(
            "/dev/kvm",
            "open to its group alone: guests of users who are not in it do not start",
            'a udev rule: KERNEL=="kvm", GROUP="kvm", MODE="0666"; or put the users into its group',
        )
    return ok("/dev/kvm", f"mode {mode & 0o777:o}")


def check_accelerator(kind: str, reason: str) -> Finding:
    """Tell what runs the guests.

    Args:
        kind: ``kvm``, ``tcg``, or empty where it could not be found out.
        reason: how that is known.
    """
    if not kind:
        return fail("accelerator", reason, "see the lines on QEMU and the image store")
    if kind == "kvm":
        return ok("accelerator", f"KVM ({reason})")
    return warn(
        "accelerator",
        f"guests are emulated, several times slower: {reason}",
        "on a real machine: enable virtualization in its firmware, load kvm_intel or kvm_amd",
    )
