"""Everything that will be made for one guest, as plain data: same input, same plan."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vmbatch.config import Profile, Site
from vmbatch.domainxml.model import DiskSource, Template, TemplateDisk
from vmbatch.errors import ImageError, TemplateError
from vmbatch.images.store import Image
from vmbatch.job import Job
from vmbatch.request import DEFAULT_IMAGE_KEY, Request
from vmbatch.shares.choose import Share, wanted_shares, ways

_NAMESPACE = uuid.UUID("8ff2e3a6-4f52-5d0c-9a1c-6d2a5f0b7c11")
_GUEST_SSH_PORT = 22


@dataclass(frozen=True, kw_only=True, slots=True)
class DiskPlan:
    """One disk of the guest.

    Args:
        target: device name in the domain, such as ``vda``.
        image: its base, never written to; None for an empty disk.
        read_only: whether the base is attached as it is; otherwise an overlay is.
        format: format of an empty disk.
        size_mib: size of an empty disk, in MiB.
    """

    target: str
    image: Image | None
    read_only: bool = False
    format: str = "qcow2"
    size_mib: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class GuestPlan:
    """What will be made for one job on one node.

    Args:
        job: whose guest it is.
        profile: name of the profile it is made by.
        template: the domain template, parsed.
        domain: name of the domain.
        uuid: its UUID, derived from its name.
        hostname: what the guest calls itself.
        vcpus: number of virtual CPUs.
        memory_mib: memory in MiB.
        disks: its disks, in the template's order.
        discs: targets of the context disc.
        kernel: for direct kernel boot.
        initrd: goes with `kernel`.
        cmdline: goes with `kernel`.
        script_dir: directory of the job's script, to be there in the guest as well.
        shares: directories of the owner that the guest should have.
        share_ways: how they may be served, best first.
        ready: ``channel`` or ``ssh``: how the guest is known to be ready.
        guest_port: where its ssh server listens.
    """

    job: Job
    profile: str
    template: Template
    domain: str
    uuid: str
    hostname: str
    vcpus: int
    memory_mib: int
    disks: tuple[DiskPlan, ...]
    discs: tuple[str, ...]
    kernel: Path | None
    initrd: Path | None
    cmdline: str | None
    script_dir: str | None
    shares: tuple[Share, ...]
    share_ways: tuple[str, ...]
    ready: str
    guest_port: int = _GUEST_SSH_PORT


def choose_images(template: Template, request: Request, profile: Profile) -> dict[str, str]:
    """Return which image each disk of the template is to have, by target.

    Raises:
        TemplateError: a disk has no source at all.
        ImageError: the submitter named none, and the site has no default.
    """
    asked = dict(request.images)
    chosen = {}
    for disk in template.disks:
        if disk.context_disc or disk.disk_source is None:
            continue
        _check_supported(disk, disk.disk_source, template)
        if disk.disk_source.create:
            continue
        chosen[disk.target] = _image_of(disk, asked, profile, template)
    return chosen


def _check_supported(disk: TemplateDisk, source: DiskSource, template: Template) -> None:
    unsupported = {
        "create='once'": source.create == "once",
        "copy_method='download'": source.copy_method == "download",
        "a URL as source": "://" in (source.source or ""),
    }
    for what, used in unsupported.items():
        if used:
            raise TemplateError(
                f"{template.path}:{disk.line}: the disk {disk.target} uses {what}, "
                "which this version can't do",
                hint="put the image into the store (vmbatch image add) and give its name, "
                "or use create='always'",
            )


def _image_of(
    disk: TemplateDisk, asked: Mapping[str, str], profile: Profile, template: Template
) -> str:
    source = disk.disk_source.source if disk.disk_source else None
    if disk.user_image is None:
        if source:
            return source
        raise TemplateError(
            f"{template.path}:{disk.line}: the disk {disk.target} has neither a source "
            "nor <vbuserimage/>",
            hint="name an image in <vbdisksource source='…'/>",
        )
    default = profile.image if disk.user_image == DEFAULT_IMAGE_KEY else None
    name = asked.get(disk.user_image) or default or source
    if name:
        return name
    raise ImageError(
        f"the job named no image for the disk {disk.target}, and the profile {profile.name} "
        "has no default",
        hint=f"submit with: -l other={disk.user_image}=IMAGE; see: vmbatch image list",
    )


def make_plan(
    job: Job,
    *,
    request: Request,
    profile: Profile,
    site: Site,
    template: Template,
    images: Mapping[str, Image],
) -> GuestPlan:
    """Decide what the job's guest is made of.

    Args:
        job: whose guest.
        request: what the submitter asked for, already held against the profile's limits.
        profile: what the site gives such jobs.
        site: the site file.
        template: the profile's template.
        images: the image of each disk, by target.
    """
    domain = f"vmbatch-{job.slug}"
    disks = tuple(
        _disk(disk, disk.disk_source, images.get(disk.target))
        for disk in template.disks
        if disk.disk_source and not disk.context_disc
    )
    boot = next((disk.image for disk in disks), None)
    ready = _ready(profile, boot)
    if template.own_network and ready == "ssh":
        raise TemplateError(
            f"{template.path}: it has a network of its own, and ready: ssh does not tell the "
            "guest's address",
            hint="use ready: channel: the guest then reports its address",
        )
    return GuestPlan(
        job=job,
        profile=profile.name,
        template=template,
        domain=domain,
        uuid=str(uuid.uuid5(_NAMESPACE, domain)),
        hostname=_hostname(job.id),
        vcpus=request.vcpus or template.vcpus or profile.vcpus or _most(job.cores, profile),
        memory_mib=request.ram_mib or template.memory_mib or _memory(job.memory_mib, profile),
        disks=disks,
        discs=tuple(disk.target for disk in template.disks if disk.context_disc),
        kernel=boot.kernel if boot else None,
        initrd=boot.initrd if boot else None,
        cmdline=boot.cmdline if boot else None,
        script_dir=str(job.script.parent) if job.script else None,
        shares=wanted_shares(
            job.owner, job.workdir, home=site.shares.home, workdir_wanted=site.shares.workdir
        ),
        share_ways=_share_ways(
            site.shares.mode, boot.shares if boot else (), outbound=site.network.outbound
        ),
        ready=ready,
    )


def _disk(disk: TemplateDisk, source: DiskSource, image: Image | None) -> DiskPlan:
    if image:
        return DiskPlan(target=disk.target, image=image, read_only=disk.read_only)
    return DiskPlan(
        target=disk.target,
        image=None,
        format=source.format or "qcow2",
        size_mib=source.size_mib or 0,
    )


def _share_ways(mode: str, known: tuple[str, ...], *, outbound: bool) -> tuple[str, ...]:
    """Of an image that is known the best way is enough; to an unknown one all are offered."""
    offered = ways(mode, known)
    if not outbound:
        # The SMB server is reached over the way out of the guest.
        offered = tuple(way for way in offered if way != "smb")
    return offered[:1] if known else offered


def _most(cores: int | None, profile: Profile) -> int:
    return min(cores or 1, profile.max_vcpus or cores or 1)


def _memory(asked: int | None, profile: Profile) -> int:
    wanted = max(asked or 0, profile.ram_mib)
    return min(wanted, profile.max_ram_mib or wanted)


def _hostname(job_id: str) -> str:
    return f"vm-{re.sub(r'[^a-z0-9-]', '-', job_id.lower())}"[:63].rstrip("-")


def _ready(profile: Profile, boot: Image | None) -> str:
    for choice in (profile.ready, boot.ready if boot else "auto"):
        if choice != "auto":
            return choice
    return "channel"
