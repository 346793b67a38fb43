"""Whether this node's KVM runs a kernel: found out by running one, once.

`/dev/kvm` may open, create a virtual CPU, and still stop every ordinary kernel with an internal
error
(nested virtualization is often like that), so nothing less than a boot proves it.
"""

from __future__ import annotations

import json
import os
import platform
import selectors
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from vmbatch.clock import Deadline
from vmbatch.errors import HypervisorError
from vmbatch.process import CLEAN_ENVIRONMENT, missing

QEMU = "qemu-system-x86_64"

Kind = Literal["kvm", "tcg"]

# Without an initrd, a kernel that came this far has run its whole start-up code and wants a root.
_ALIVE = (b"Unable to mount root fs", b"VFS: Cannot open root device", b"Run /init as init process")
_BROKEN = (
    b"KVM internal error",
    b"failed to initialize kvm",
    b"Could not access KVM kernel module",
)


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What runs the guests of this node.

    Args:
        kind: ``kvm`` or ``tcg``.
        reason: how that is known.
    """

    kind: Kind
    reason: str


def find(remembered: Path, *, kernels: Iterable[Path], seconds: float) -> Accelerator:
    """Return the accelerator of this node, from memory or by a probe.

    Args:
        remembered: root's file with the answer; the answer holds for one host kernel and one QEMU.
        kernels: kernels of Linux to try with; the first that exists is taken.
        seconds: how long a kernel may take to start.
    """
    identity = _identity()
    known = _recall(remembered, identity)
    if known:
        return known
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Accelerator("tcg", "/dev/kvm is not there or can't be opened")
    kernel = next((path for path in kernels if path.is_file()), None)
    if kernel is None:
        return Accelerator("tcg", "no kernel to try KVM with: build an image, then it is tried")
    found = probe(kernel, Deadline.after(seconds))
    _remember(remembered, identity, found)
    return found


def probe(kernel: Path, deadline: Deadline) -> Accelerator:
    """Boot a kernel under KVM, without disk or initrd, and see whether it lives.

    Raises:
        HypervisorError: QEMU is not installed.
    """
    argv = [
        *(QEMU, "-accel", "kvm", "-cpu", "host", "-m", "256", "-nodefaults", "-display", "none"),
        *("-serial", "stdio", "-no-reboot", "-kernel", str(kernel)),
        *("-append", "console=ttyS0 panic=-1"),
    ]
    start = deadline.left()
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=CLEAN_ENVIRONMENT,
        )
    except FileNotFoundError:
        error = missing(QEMU)
        raise HypervisorError(error.message, hint=error.hint) from None
    try:
        return _judge(process, deadline, start)
    finally:
        process.kill()
        process.wait()


def _judge(process: subprocess.Popen[bytes], deadline: Deadline, limit: float) -> Accelerator:
    output = process.stdout
    if output is None:
        raise HypervisorError("QEMU was started without a pipe")
    seen = b""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while selector.select(deadline.left()):
            data = os.read(output.fileno(), 65536)
            seen += data
            if any(mark in seen for mark in _ALIVE):
                return Accelerator("kvm", "a kernel ran under KVM")
            if any(mark in seen for mark in _BROKEN):
                return Accelerator("tcg", f"KVM can't run a kernel: {_last(seen, _BROKEN)}")
            if not data:
                return Accelerator("tcg", "QEMU ended before a kernel ran under KVM")
    return Accelerator("tcg", f"a kernel under KVM did not start within {limit:.0f} s")


def _last(seen: bytes, marks: Iterable[bytes]) -> str:
    lines = [line for line in seen.splitlines() if any(mark in line for mark in marks)]
    return lines[-1].decode(errors="replace").strip()[:120]


def _identity() -> str:
    binary = shutil.which(QEMU, path=CLEAN_ENVIRONMENT["PATH"])
    stamp = Path(binary).stat().st_mtime_ns if binary else 0
    return f"{platform.release()} {platform.version()} {stamp} {Path('/dev/kvm').exists()}"


def _recall(path: Path, identity: str) -> Accelerator | None:
    try:
        value = json.loads(path.read_text())
        if value["node"] == identity:
            return Accelerator(value["kind"], value["reason"])
    except (OSError, ValueError, KeyError):
        return None
    return None


def _remember(path: Path, identity: str, found: Accelerator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps({"node": identity, **asdict(found)}))
    temporary.rename(path)
