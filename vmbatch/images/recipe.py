"""What a recipe gets and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vmbatch.images.apt import Packages

FILES = Path(__file__).parent / "files"
"""The files that recipes put into guests."""

ROOT_LABEL = "vmbatch-root"
"""Label of the root file system; guests find their root disk by it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workshop:
    """Where a recipe works.

    Args:
        bench: an empty directory of root's, removed afterwards.
        packages: Debian's packages.
        cache: a directory that stays.
        say: told each step in a line.
    """

    bench: Path
    packages: Packages
    cache: Path
    say: Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What a recipe made: files on its bench.

    Args:
        disk: the root disk, qcow2.
        kernel: for direct kernel boot.
        initrd: goes with it.
        cmdline: goes with it.
        description: one line for people.
    """

    disk: Path
    kernel: Path
    initrd: Path
    cmdline: str
    description: str
