"""What this node can do, found out once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vmbatch.config import Site
from vmbatch.hypervisor.accelerator import Accelerator, find
from vmbatch.images.store import ImageStore


def accelerator(site: Site, wanted: str = "auto") -> Accelerator:
    """Return what runs the guests of this node.

    Args:
        site: the site file.
        wanted: a profile's choice: ``kvm``, ``tcg``, or ``auto`` to find out.
    """
    if wanted == "kvm":
        return Accelerator("kvm", "the profile says so")
    if wanted == "tcg":
        return Accelerator("tcg", "the profile says so")
    return find(
        site.paths.state / "accelerator.json",
        kernels=_kernels(site),
        seconds=site.timeouts.accelerator_probe,
    )


def _kernels(site: Site) -> Iterator[Path]:
    for image in ImageStore(site.paths.images).list():
        if image.kernel:
            yield image.kernel
    yield from sorted(Path("/boot").glob("vmlinuz-*"))
