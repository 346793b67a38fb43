"""The recipe `debian12`: Debian 12 with systemd, cloud-init and OpenSSH.

It takes its context as any stock cloud image does: cloud-init finds the NoCloud seed on the disc.
The kernel stands beside the disk in the store, so no kernel package is in the disk, only modules.
"""

from __future__ import annotations

from pathlib import Path

from vmbatch.clock import Deadline
from vmbatch.images.apt import SUITE
from vmbatch.images.diskspace import named_if_full
from vmbatch.images.initrd import write_initrd
from vmbatch.images.kernel import Kernel, copy_all_modules, unpack_kernel, write_vmlinux
from vmbatch.images.recipe import FILES, ROOT_LABEL, Result, Workshop
from vmbatch.images.rootdisk import write_root_disk
from vmbatch.process import run

DISK_BYTES = 8 << 30
CMDLINE = (
    f"root=LABEL={ROOT_LABEL} rw quiet panic=-1 console=ttyS0 net.ifnames=0"
    " cryptomgr.notests no_timer_check"
)
_PACKAGES = (
    *("systemd-sysv", "udev", "kmod", "systemd-resolved", "dbus", "iproute2", "iputils-ping"),
    *("cloud-init", "openssh-server", "openssh-sftp-server", "procps", "ca-certificates", "less"),
    *("netbase", "busybox-static"),
)
_UNUSED_DRIVERS = (
    *("sound", "drivers/media", "drivers/gpu", "drivers/net/wireless", "drivers/staging"),
    *("drivers/infiniband", "drivers/iio", "drivers/bluetooth", "net/bluetooth"),
)
_UNUSED_PATHS = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
_SECONDS = 1800.0


def cook(shop: Workshop) -> Result:
    """Make the image.

    Raises:
        NodeError: a package can't be had, or the disk is full.
    """
    shop.say("package lists")
    shop.packages.refresh()
    shop.say("Debian packages (a minute or two)")
    tree = shop.bench / "root"
    _bootstrap(shop, tree)
    busybox = tree / "usr/bin/busybox"
    shop.say("kernel")
    kernel = unpack_kernel(shop.packages, shop.bench / "kernel", busybox)
    shop.say(f"root file system with the modules of {kernel.version}")
    copy_all_modules(kernel, tree, leave=_UNUSED_DRIVERS)
    # The guest's own depmod: kmod reads tables in a form that busybox does not write.
    run(["chroot", tree, "depmod", kernel.version])
    _configure(tree)
    shop.say("initial RAM disk, kernel and disk")
    return _write(shop, tree, kernel, busybox)


def _write(shop: Workshop, tree: Path, kernel: Kernel, busybox: Path) -> Result:
    initrd, vmlinux = shop.bench / "initrd", shop.bench / "vmlinux"
    disk = shop.bench / "disk.qcow2"
    write_initrd(kernel, initrd, bench=shop.bench / "first", busybox=busybox)
    write_vmlinux(kernel, vmlinux)
    write_root_disk(tree, disk, label=ROOT_LABEL, size=DISK_BYTES)
    return Result(
        disk=disk,
        kernel=vmlinux,
        initrd=initrd,
        cmdline=CMDLINE,
        description=f"Debian 12 with systemd and cloud-init on Linux {kernel.version}",
    )


def _bootstrap(shop: Workshop, tree: Path) -> None:
    archives = shop.cache / "packages-debian12"
    archives.mkdir(mode=0o755, exist_ok=True)
    masked = [line for line in _lines(FILES / "debian12" / "units") if not line.startswith("#")]
    argv = ["mmdebstrap", "--variant=minbase", "--format=directory", "--architectures=amd64"]
    argv += [f"--include={','.join(_PACKAGES)}", '--aptopt=Acquire::Languages "none"']
    argv += [f"--dpkgopt=path-exclude={path}" for path in _UNUSED_PATHS]
    # What was fetched once stays in the cache.
    argv += ["--skip=download/empty", "--skip=essential/unlink"]
    argv += ['--setup-hook=mkdir -p "$1/var/cache/apt/archives"']
    argv += [f"--setup-hook=sync-in {archives} /var/cache/apt/archives"]
    argv += [f"--customize-hook=sync-out /var/cache/apt/archives {archives}"]
    argv += ['--customize-hook=chroot "$1" systemctl enable systemd-networkd systemd-resolved']
    argv += ['--customize-hook=chroot "$1" systemctl set-default multi-user.target']
    argv += [f'--customize-hook=chroot "$1" systemctl mask {" ".join(filter(None, masked))}']
    with named_if_full("the packages", shop.bench):
        run([*argv, SUITE, tree, shop.packages.sources_list], deadline=Deadline.after(_SECONDS))


def _lines(path: Path) -> list[str]:
    return path.read_text().split("\n")


def _configure(tree: Path) -> None:
    etc = tree / "etc"
    # Each guest makes its own identity: keys, machine id, name, resolver.
    for key in etc.glob("ssh/ssh_host_*"):
        key.unlink()
    _write_file(etc / "machine-id", "")
    (tree / "var/lib/dbus/machine-id").unlink(missing_ok=True)
    _write_file(etc / "hostname", "debian12\n")
    _write_file(etc / "hosts", "127.0.0.1 localhost\n::1 localhost\n")
    _write_file(etc / "fstab", f"LABEL={ROOT_LABEL} / ext4 noatime 0 0\n")
    (etc / "resolv.conf").unlink(missing_ok=True)
    (etc / "resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    _write_file(
        etc / "cloud/cloud.cfg.d/90_vmbatch.cfg", (FILES / "debian12" / "cloud.cfg").read_text()
    )
    # The log lives as long as the guest.
    (etc / "systemd/journald.conf.d").mkdir(mode=0o755, exist_ok=True)
    _write_file(etc / "systemd/journald.conf.d/vmbatch.conf", "[Journal]\nStorage=volatile\n")


def _write_file(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)  # it may be a link that leads out of the tree
    path.write_text(text)
    path.chmod(0o644)
