"""What this node can do, found out once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vmbatch.config import Site
from vmbatch.errors import SiteError
from vmbatch.hypervisor.accelerator import Accelerator, find
from vmbatch.images.store import ImageStore
from vmbatch.job import Owner

KVM = Path("/dev/kvm")


def accelerator(site: Site, wanted: str = "auto", *, owner: Owner | None = None) -> Accelerator:
    """Return what runs the guests of this node.

    Args:
        site: the site file.
        wanted: a profile's choice: ``kvm``, ``tcg``, or ``auto`` to find out.
        owner: whose guest it is: QEMU runs as the owner, who must be able to open `/dev/kvm`.

    Raises:
        SiteError: the profile demands KVM, and the owner can't open it.
    """
    if wanted == "tcg":
        return Accelerator("tcg", "the profile says so")
    closed = owner is not None and not may_open(KVM, owner)
    if wanted == "kvm":
        if closed:
            raise SiteError(
                f"the profile demands KVM, and the job's owner can't open {KVM}",
                hint=f"{KVM} needs mode 0666, or the owner its group; see: vmbatch doctor",
            )
        return Accelerator("kvm", "the profile says so")
    found = find(
        site.paths.state / "accelerator.json",
        kernels=_kernels(site),
        seconds=site.timeouts.accelerator_probe,
    )
    if found.kind == "kvm" and closed:
        return Accelerator("tcg", f"KVM works, but the job's owner can't open {KVM}")
    return found


def may_open(device: Path, owner: Owner) -> bool:
    """Whether the owner can read and write a device, by its mode."""
    try:
        found = device.stat()
    except OSError:
        return False
    if found.st_uid == owner.uid:
        return found.st_mode & 0o600 == 0o600
    if found.st_gid in owner.gids:
        return found.st_mode & 0o060 == 0o060
    return found.st_mode & 0o006 == 0o006


def _kernels(site: Site) -> Iterator[Path]:
    for image in ImageStore(site.paths.images).list():
        if image.kernel:
            yield image.kernel
    yield from sorted(Path("/boot").glob("vmlinuz-*"))
