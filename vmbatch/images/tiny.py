"""The recipe `tiny`: busybox's init, GNU's everyday tools, dropbear; up in a few seconds.

For trying things out and for tests, where no hardware accelerator helps. Job scripts find bash, a
POSIX sh, coreutils, grep, sed, awk, find, tar, gzip and ps.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from vmbatch.images.initrd import BUS_MODULES, FIRST_MODULES, write_initrd
from vmbatch.images.kernel import copy_modules, unpack_kernel, write_vmlinux
from vmbatch.images.recipe import FILES, ROOT_LABEL, Result, Workshop
from vmbatch.images.rootdisk import write_root_disk
from vmbatch.process import run

DISK_BYTES = 4 << 30
CMDLINE = (
    "quiet panic=-1 console=ttyS0 net.ifnames=0"
    # The kernel's tests of its own ciphers, and of a timer that QEMU emulates: 0.3 s without KVM.
    " cryptomgr.notests no_timer_check"
)

_TOOLS = (
    *("busybox-static", "bash", "dash", "coreutils", "grep", "sed", "findutils", "tar", "gzip"),
    *("procps", "util-linux", "dropbear-bin", "base-files", "libc-bin", "ncurses-base"),
)
_LIBRARIES = (
    *("libc6", "libgcc-s1", "libcrypt1", "libtinfo6", "libncursesw6", "zlib1g", "libacl1"),
    *("libattr1", "libgmp10", "libselinux1", "libpcre2-8-0", "libtommath1", "libtomcrypt1"),
    *("libproc2-0", "libsystemd0", "libcap2", "libcap-ng0", "libgcrypt20", "libgpg-error0"),
    *("liblz4-1", "liblzma5", "libzstd1", "libmount1", "libblkid1", "libsmartcols1", "libuuid1"),
    *("libudev1", "libpam0g", "libaudit1", "libreadline8"),
)
_LATER_MODULES = (
    *("9p", "9pnet_virtio", "cifs", "cmac", "ccm", "gcm", "sha512_generic", "nls_utf8"),
    *("fuse", "virtiofs", "overlay", "loop", "button", "evdev", "e1000", "e1000e"),
    *("virtio_balloon", "virtio_mmio"),
)

_ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/bash\n"
    "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "group": "root:x:0:\ndaemon:x:1:\ntty:x:5:\ndisk:x:6:\nusers:x:100:\nnogroup:x:65534:\n",
    "shadow": "root:*:19000:0:99999:7:::\n"
    "daemon:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n",
    "gshadow": "root:*::\ndaemon:*::\ntty:*::\ndisk:*::\nusers:*::\nnogroup:*::\n",
    "shells": "/bin/sh\n/bin/bash\n/bin/dash\n/usr/bin/bash\n/usr/bin/sh\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "hostname": "tiny\n",
    "fstab": "",
    "resolv.conf": "",
    "securetty": "",
    "profile": "PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin\nexport PATH\n",
    "acpi/PWRF/00000080": "#!/bin/sh\nexec /sbin/poweroff\n",
}
_DIRECTORIES = (
    *("dev", "proc", "sys", "run", "mnt", "home", "root", "tmp", "var/log", "var/tmp", "var/lib"),
    *("etc/acpi/PWRF", "usr/lib/vmbatch", "usr/local/bin", "usr/bin", "usr/sbin", "usr/lib"),
    *("usr/lib64", "opt"),
)


def cook(shop: Workshop) -> Result:
    """Make the image.

    Raises:
        NodeError: a package can't be had, or the disk is full.
    """
    shop.say("package lists")
    shop.packages.refresh()
    tree = shop.bench / "root"
    _unpack_tools(shop, tree)
    busybox = tree / "usr/bin/busybox"
    shop.say("kernel")
    kernel = unpack_kernel(shop.packages, shop.bench / "kernel", busybox)
    shop.say(f"root file system with the modules of {kernel.version}")
    copy_modules(kernel, (*FIRST_MODULES, *BUS_MODULES, *_LATER_MODULES), tree, busybox)
    _link_applets(tree, busybox)
    _configure(tree)
    shop.say("initial RAM disk, kernel and disk")
    initrd = shop.bench / "initrd"
    write_initrd(kernel, initrd, bench=shop.bench / "first", busybox=busybox)
    vmlinux, disk = shop.bench / "vmlinux", shop.bench / "disk.qcow2"
    write_vmlinux(kernel, vmlinux)
    # No journal: the disk of a job is never used again after a crash.
    write_root_disk(tree, disk, label=ROOT_LABEL, size=DISK_BYTES, features="^has_journal")
    return Result(
        disk=disk,
        kernel=vmlinux,
        initrd=initrd,
        cmdline=CMDLINE,
        description=f"busybox, bash, coreutils and dropbear on Linux {kernel.version}",
    )


def _unpack_tools(shop: Workshop, tree: Path) -> None:
    shop.say("packages")
    files = shop.packages.download((*_TOOLS, *_LIBRARIES))
    for name in _DIRECTORIES:
        (tree / name).mkdir(mode=0o755, parents=True, exist_ok=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (tree / name).symlink_to(f"usr/{name}")
    for package in files:
        # Not dpkg-deb -x: it would put directories in the place of those links.
        archive = run(["dpkg-deb", "--fsys-tarfile", package])
        run(["tar", "-x", "-p", "--keep-directory-symlink", "-C", tree], stdin=archive)
    for name in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"):
        shutil.rmtree(tree / name, ignore_errors=True)


def _link_applets(tree: Path, busybox: Path) -> None:
    """Give each applet of busybox its name where no other program has it."""
    for line in run([busybox, "--list-full"]).decode().split():
        name = Path(line).name
        place = tree / "usr" / ("sbin" if "sbin" in line or name == "init" else "bin") / name
        if not any(os.path.lexists(tree / "usr" / part / name) for part in ("bin", "sbin")):
            place.symlink_to("/bin/busybox")


def _configure(tree: Path) -> None:
    for name, text in _ETC.items():
        path = tree / "etc" / name
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(0o755 if name.startswith("acpi") else 0o644)
    for name in ("shadow", "gshadow"):
        (tree / "etc" / name).chmod(0o600)
    for name in ("start", "context", "lease", "stop"):
        _install(FILES / "tiny" / name, tree / "usr/lib/vmbatch" / name, 0o755)
    _install(FILES / "tiny" / "inittab", tree / "etc" / "inittab", 0o644)
    (tree / "root").chmod(0o700)
    for name in ("tmp", "var/tmp"):
        (tree / name).chmod(0o1777)
    for name in ("run", "lock"):
        path = tree / "var" / name
        if not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
            path.symlink_to("/run" if name == "run" else "/run/lock")
    run(["ldconfig", "-r", tree])


def _install(source: Path, target: Path, mode: int) -> None:
    shutil.copyfile(source, target)
    target.chmod(mode)
