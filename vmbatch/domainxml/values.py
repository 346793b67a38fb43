"""What a plan puts into a template."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vmbatch.domainxml.model import Template
from vmbatch.domainxml.xml import Element

METADATA_URI = "urn:vmbatch:job:1"
QEMU_URI = "http://libvirt.org/schemas/domain/qemu/1.0"
CHANNEL = "org.vmbatch.guest.0"


@dataclass(frozen=True, kw_only=True, slots=True)
class DiskFile:
    """The file of one disk.

    Args:
        path: where.
        format: ``qcow2``, ``raw`` or ``vpc``; QEMU never guesses it.
        backing: the file below, for an overlay. The owner can write to an overlay, its header
            included: with this, neither libvirt nor QEMU asks the header what lies below.
    """

    path: Path
    format: str
    backing: DiskFile | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Forward:
    """A port of the host that leads to a port of the guest.

    Args:
        host_address: IPv4 address to listen on, such as ``127.0.0.1``.
        host_port: TCP port to listen on.
        guest_port: TCP port of the guest.
    """

    host_address: str
    host_port: int
    guest_port: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainValues:
    """Everything that differs from job to job.

    Args:
        name: name of the domain.
        uuid: its UUID.
        job_id: the batch system's id.
        owner_name: login name of the job's owner.
        uid: the owner's user id, which QEMU runs with.
        gid: the owner's group id.
        deadline: ISO 8601 time at which the job is over at the latest; may be empty.
        memory_mib: memory in MiB.
        vcpus: virtual processors.
        accelerator: ``kvm`` or ``tcg``.
        disks: for each managed disk of the template, by target.
        kernel: kernel of a direct boot, None to boot from disk.
        initrd: its initial RAM disk.
        cmdline: its command line.
        forwards: forwarded ports, if the template has no network of its own.
        outbound: whether the guest may open connections to the outside.
        channel: unix socket, made by libvirt, on which the guest reports.
        console_log: file that receives the first serial port's output.
        shares: 9p tag and host directory of each shared directory.
    """

    name: str
    uuid: str
    job_id: str
    owner_name: str
    uid: int
    gid: int
    deadline: str
    memory_mib: int
    vcpus: int
    accelerator: Literal["kvm", "tcg"]
    disks: Mapping[str, DiskFile]
    kernel: Path | None = None
    initrd: Path | None = None
    cmdline: str | None = None
    forwards: tuple[Forward, ...] = ()
    outbound: bool = False
    channel: Path
    console_log: Path
    shares: tuple[tuple[str, Path], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One thing that rendering puts into the document.

    Args:
        what: the element, in words of Markdown.
        rule: what is put there, and what of the template is kept instead.
        act: does it to the root of a copy of the template's document.
    """

    what: str
    rule: str
    act: Callable[[Element, Template, DomainValues], None]
