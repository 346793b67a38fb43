"""A directory made into a disk: ext4 on the whole disk, no partitions, nothing mounted."""

from __future__ import annotations

from pathlib import Path

from vmbatch.images.diskspace import named_if_full
from vmbatch.process import run


def write_root_disk(
    tree: Path, disk: Path, *, label: str, size: int, features: str = "", inode_bytes: int = 16384
) -> None:
    """Write the files below `tree` into a new qcow2 disk, with their owners and modes.

    Args:
        tree: the root file system.
        disk: the file to write.
        label: the file system's label, at most 16 characters.
        size: virtual size in bytes.
        features: for mke2fs -O, empty for its defaults.
        inode_bytes: one inode for so many bytes.

    Raises:
        NodeError: the disk is full.
        ProgramError: mke2fs or qemu-img failed.
    """
    raw = disk.with_suffix(".raw")
    # All tables are written now: the guest would do it later, into every job's overlay.
    extended = "lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0"
    argv = ["mke2fs", "-q", "-F", "-t", "ext4", "-L", label, "-m", "1", "-i", str(inode_bytes)]
    argv += ["-E", extended, *(["-O", features] if features else [])]
    with named_if_full("the disk", disk):
        run([*argv, "-d", tree, raw, f"{size // 1024}k"])
        run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, disk])
    raw.unlink()
