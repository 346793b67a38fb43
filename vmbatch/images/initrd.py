"""The initial RAM disk of the recipes: busybox, the drivers, and one script."""

from __future__ import annotations

from pathlib import Path

from vmbatch.images.cpio import (
    Entry,
    character_device,
    directory,
    link,
    regular,
    write_archive,
)
from vmbatch.images.kernel import Kernel, copy_modules
from vmbatch.images.recipe import FILES, ROOT_LABEL

FIRST_MODULES = (
    *("virtio_pci", "virtio_blk", "crc32c_generic", "ext4"),
    *("virtio_net", "virtio_console", "virtio_rng", "isofs"),
)
"""Loaded at once: what every guest of ours has."""

BUS_MODULES = ("virtio_scsi", "sd_mod", "sr_mod", "ahci", "ata_piix")
"""Loaded where a disk hangs on such a bus."""


def write_initrd(kernel: Kernel, target: Path, *, bench: Path, busybox: Path) -> None:
    """Write an initial RAM disk that starts /sbin/init of the disk labelled `ROOT_LABEL`.

    Args:
        kernel: whose modules.
        target: the file to write.
        bench: a directory to work in; it must not exist.
        busybox: a static busybox.
    """
    copy_modules(kernel, (*FIRST_MODULES, *BUS_MODULES), bench, busybox)
    base = f"/lib/modules/{kernel.version}"
    order = [f"{base}/{path}\n" for path in kernel.closure(FIRST_MODULES)]
    entries: list[Entry] = [
        *(directory(name) for name in ("dev", "proc", "sys", "root", "bin", "sbin", "lib")),
        character_device("dev/console", 5, 1),
        regular("bin/busybox", busybox.read_bytes(), executable=True),
        link("sbin/modprobe", "/bin/busybox"),
        regular("init", (FILES / "initrd" / "init").read_bytes(), executable=True),
        regular("label", ROOT_LABEL.encode()),
        regular("order", "".join(order).encode()),
    ]
    for path in sorted((bench / "lib").rglob("*")):
        name = str(path.relative_to(bench))
        entries.append(directory(name) if path.is_dir() else regular(name, path.read_bytes()))
    with target.open("wb") as out:
        write_archive(out, entries)
