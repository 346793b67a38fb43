"""The Debian packages that vmbatch needs, by what they are needed for."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from vmbatch.errors import ProgramError
from vmbatch.install.console import say, step
from vmbatch.process import CLEAN_ENVIRONMENT, run


class Purpose(StrEnum):
    """What packages are needed for."""

    RUN = "run"
    BUILD = "build"
    IMAGES = "images"
    TEST = "test"


PACKAGES: dict[Purpose, tuple[str, ...]] = {
    Purpose.RUN: (
        "e2fsprogs",
        "iproute2",
        "libvirt-clients",
        "libvirt-daemon-driver-qemu",
        "libvirt-daemon-system",
        "openssh-client",
        "qemu-system-x86",
        "qemu-utils",
        "seabios",
    ),
    Purpose.BUILD: (  # libvirt-python is compiled against the node's own libvirt
        "gcc",
        "libc6-dev",
        "libvirt-dev",
        "pkg-config",
        "python3-dev",
        "python3-venv",
    ),
    Purpose.IMAGES: (
        "busybox-static",
        "cpio",
        "dropbear-bin",
        "kmod",
        "mmdebstrap",
        "xz-utils",
        "zstd",
    ),
    Purpose.TEST: (
        "genisoimage",
        "libxml2-utils",
        "man-db",
        "openssh-server",
        "samba",
        "shellcheck",
    ),
}

_APT = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3", "-q")
_POLICY = Path("/usr/sbin/policy-rc.d")
_POLICY_TEXT = (
    "#!/bin/sh\n# Made by the setup.sh of vmbatch for the time of an installation.\nexit 101\n"
)
# Packages whose service must not even start with the machine's next boot.
_TOOLS_ONLY = {"openssh-server": "ssh", "samba": "smbd nmbd samba-ad-dc"}


def wanted(purposes: Sequence[Purpose]) -> tuple[str, ...]:
    """Return the packages for `purposes`, sorted."""
    return tuple(sorted({name for purpose in purposes for name in PACKAGES[purpose]}))


def absent(names: Sequence[str], status: str) -> tuple[str, ...]:
    r"""Return which of `names` are not installed.

    Args:
        names: packages.
        status: lines of ``PACKAGE STATUS`` as dpkg-query prints them.

    >>> absent(["gcc", "zstd"], "gcc installed\nzstd config-files\n")
    ('zstd',)
    """
    installed = {line.split()[0] for line in status.splitlines() if line.endswith(" installed")}
    return tuple(name for name in names if name not in installed)


def install(purposes: Sequence[Purpose]) -> None:
    """Install what is missing; asks no question and starts no service.

    Raises:
        ProgramError: there is no apt-get, or it failed.
    """
    missing = absent(wanted(purposes), _status(wanted(purposes)))
    if not missing:
        return
    if shutil.which("apt-get", path=CLEAN_ENVIRONMENT["PATH"]) is None:
        raise ProgramError(
            f"these packages are missing, and there is no apt-get: {' '.join(missing)}",
            hint="install their like with this system's own package manager",
        )
    with step(f"installing {len(missing)} Debian packages ({' '.join(missing)})"), no_services():
        _apt("update")
        _apt("install", "-y", "--no-install-recommends", *missing)
    _disable(missing)


def _status(names: Sequence[str]) -> str:
    query = ("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names)
    try:
        # Exits 1 where one of them is unknown, which is no failure here.
        done = subprocess.run(
            query, capture_output=True, text=True, env=CLEAN_ENVIRONMENT, check=False
        )
    except FileNotFoundError:
        raise ProgramError(
            "this system has no dpkg-query: setup.sh knows Debian and its kin alone",
            hint="install the like of vmbatch/install/packages.py by hand, and give --no-packages",
        ) from None
    return done.stdout


def _apt(*arguments: str) -> None:
    """Run apt-get, its output going to stderr, to be seen while it works."""
    environment = {**_proxies(), **CLEAN_ENVIRONMENT, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        [*_APT, *arguments], stdin=subprocess.DEVNULL, stdout=2, env=environment, check=False
    )
    if done.returncode != 0:
        raise ProgramError(
            f"apt-get {arguments[0]} failed with exit status {done.returncode}",
            hint="its reason stands above; see the network and /etc/apt/sources.list.d",
        )


def _proxies() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}


@contextmanager
def no_services(policy: Path = _POLICY) -> Iterator[None]:
    """Keep packages from starting their services, as invoke-rc.d's policy layer has it.

    A policy of the site's own is left alone. One that a killed run left behind is removed at last.
    """
    if policy.exists() and policy.read_text(errors="replace") != _POLICY_TEXT:
        yield
        return
    policy.write_text(_POLICY_TEXT)
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def _disable(names: Sequence[str]) -> None:
    if shutil.which("systemctl", path=CLEAN_ENVIRONMENT["PATH"]) is None:
        return
    units = [unit for name in names for unit in _TOOLS_ONLY.get(name, "").split()]
    if units:
        say(f"   not to be started at boot: {' '.join(units)}")
        run(["systemctl", "disable", "--quiet", *units])
