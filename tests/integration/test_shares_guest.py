"""A guest without 9p, Debian's cloud kernel, mounts what the owner's SMB server serves."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from vmbatch.clock import Deadline
from vmbatch.job import find_owner
from vmbatch.shares.choose import Share
from vmbatch.shares.group import stop_process_group
from vmbatch.shares.smb import start_smb

pytestmark = pytest.mark.integration

OWNER = find_owner("games")
GUEST = Path(__file__).with_name("shares_guest.sh")
# In the order in which they go into the kernel.
MODULES = (
    *("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci"),
    *("failover", "net_failover", "virtio_net", "netfs", "fscache", "dns_resolver"),
    *("cifs_md4", "cifs_arc4", "nls_utf8", "cifs"),
)


def call(*argv: str | Path, cwd: Path | None = None, stdin: bytes = b"") -> bytes:
    return subprocess.run(argv, check=True, cwd=cwd, input=stdin, stdout=subprocess.PIPE).stdout


@pytest.fixture(scope="module")
def top() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="vmbatch-shares-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def kernel(top: Path) -> Path:
    """Debian's cloud kernel, unpacked."""
    depends = call("apt-cache", "depends", "linux-image-cloud-amd64").decode()
    package = re.findall(r"Depends: (linux-image-[0-9]\S*-cloud-amd64)", depends)[0]
    download = top / "download"
    download.mkdir()
    call("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package, cwd=download)
    call("dpkg-deb", "-x", next(download.glob("*.deb")), top / "kernel")
    return top / "kernel"


def initramfs(top: Path, kernel: Path, settings: Mapping[str, str]) -> Path:
    tree = top / "initramfs"
    for name in ("bin", "modules", "proc", "sys", "dev", "tmp", "etc"):
        (tree / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "busybox", tree / "bin/busybox")
    for number, name in enumerate(MODULES):
        found = next(kernel.rglob(f"{name}.ko"))
        shutil.copy(found, tree / "modules" / f"{number:02}-{name}.ko")
    lines = "".join(f"{key}='{value}'\n" for key, value in settings.items())
    (tree / "settings").write_text(lines)
    shutil.copy(GUEST, tree / "init")
    (tree / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*"))).encode()
    archive = top / "initramfs.cpio"
    archive.write_bytes(call("busybox", "cpio", "-o", "-H", "newc", cwd=tree, stdin=names))
    return archive


def boot(kernel: Path, archive: Path) -> str:
    machine = ["-nodefaults", "-no-user-config", "-machine", "q35,accel=tcg", "-cpu", "max"]
    network = ["-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n"]
    output = call(
        *("timeout", "120", "qemu-system-x86_64", *machine, *network, "-m", "512", "-no-reboot"),
        *("-display", "none", "-serial", "stdio", "-kernel", next(kernel.glob("boot/vmlinuz-*"))),
        *("-initrd", archive, "-append", "console=ttyS0 quiet panic=-1"),
    )
    return output.decode(errors="replace").replace("\r", "")


def make_home(path: Path) -> bytes:
    data = os.urandom(5_000_001)
    path.mkdir(mode=0o700)
    (path / "input").write_bytes(data)
    (path / "run.sh").write_text("#!/bin/busybox sh\necho it ran\n")
    (path / "run.sh").chmod(0o750)
    (path / "link").symlink_to("input")
    (path / "roots").write_text("root's own")
    (path / "roots").chmod(0o600)
    for entry in (path, path / "input", path / "run.sh"):
        os.chown(entry, OWNER.uid, OWNER.gid)
    return data


@pytest.fixture(scope="module")
def said(top: Path, kernel: Path) -> dict[str, str]:
    """What the guest found: a word for each check."""
    data = make_home(top / "home")
    (top / "work %u").mkdir()
    os.chown(top / "work %u", OWNER.uid, OWNER.gid)
    (top / "job").mkdir()
    (top / "job").chmod(0o711)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shares = [
        Share(tag="home", source=str(top / "home"), path="/h"),
        Share(tag="work", source=str(top / "work %u"), path="/w"),
    ]
    undo: list[tuple[int, int]] = []
    try:
        server = start_smb(
            top / "job",
            shares,
            owner=OWNER,
            port=port,
            deadline=Deadline.after(20),
            started=lambda pid, start_time: undo.append((pid, start_time)),
        )
        settings = {
            "VB_SMB_PORT": str(port),
            "VB_SMB_USER": server.user,
            "VB_SMB_PASSWORD": server.password,
            "SUM": hashlib.sha256(data).hexdigest(),
            "IDS": f"{OWNER.uid}:{OWNER.gid}",
        }
        text = boot(kernel, initramfs(top, kernel, settings))
    finally:
        for pid, start_time in undo:
            stop_process_group(pid, start_time, Deadline.after(5))
    return dict(re.findall(r"^CHECK (\S+) (.*)$", text, re.MULTILINE)) | {"console": text}


@pytest.mark.parametrize(
    "check",
    [
        *("mounted", "no-password", "wrong-password", "other-user"),
        *("content", "owner", "mode", "executable", "link", "new-link", "hard-link", "fifo"),
        *("chmod", "umask", "case", "odd-name", "large", "unlinked", "rename", "root-squashed"),
        *("roots-file", "no-escape", "no-device", "second-share", "big-copy"),
    ],
)
def test_the_guest_finds(said: dict[str, str], check: str) -> None:
    assert said.get(check) == "ok", said["console"]


def test_what_the_guest_wrote_is_the_owners_on_the_host(said: dict[str, str], top: Path) -> None:
    written = top / "work %u" / "copy"
    assert said["second-share"] == "ok"
    assert written.read_bytes() == (top / "home/input").read_bytes()
    assert (written.stat().st_uid, written.stat().st_gid) == (OWNER.uid, OWNER.gid)
    assert written.stat().st_mode & 0o7777 == 0o640
    assert (top / "home/to-output").readlink() == Path("sub/output")
    assert (top / "home/sub/output").read_text() == "from the guest\n"
    assert not os.listxattr(top / "home/sub/output")
