"""What a template says, as plain data; and the rules that tie several tags together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vmbatch.domainxml.read import Found, Place, Tags
from vmbatch.domainxml.xml import Element, Tree, line_of

DEFAULT_METHOD = "CDROM"
DEFAULT_KEY = "vbuserimage"

_UNITS = {
    **dict.fromkeys(("b", "bytes"), 1),
    **dict.fromkeys(("k", "KiB"), 1 << 10),
    **dict.fromkeys(("M", "MiB"), 1 << 20),
    **dict.fromkeys(("G", "GiB"), 1 << 30),
    **dict.fromkeys(("T", "TiB"), 1 << 40),
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class DiskSource:
    """`vbdisksource`: where a disk's contents come from.

    Args:
        source: name, path or URL; None if the submitter must say, or for an empty disk.
        copy_method: ``shared`` or ``download``.
        size_mib: size of an empty disk in MiB.
        create: ``always`` or ``once`` for an empty disk.
        format: ``qcow2``, ``raw`` or ``vpc``.
    """

    source: str | None = None
    copy_method: str | None = None
    size_mib: int | None = None
    create: str | None = None
    format: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TemplateDisk:
    """One `<disk>`, with tags or without.

    Args:
        target: libvirt's device name, such as ``vda``; unique in a template.
        bus: bus as written, such as ``virtio``.
        device: ``disk`` or ``cdrom``.
        disk_source: where its contents come from; None if the disk is left as written.
        context_disc: it is the disc that tells the guest its job.
        user_image: key of ``-l other=KEY=IMAGE`` that replaces the source; None if none may.
        read_only: it is never written to, so jobs may share it.
        file: the file that the template names.
        line: where it stands.
    """

    target: str
    bus: str | None = None
    device: str = "disk"
    disk_source: DiskSource | None = None
    context_disc: bool = False
    user_image: str | None = None
    read_only: bool = False
    file: str | None = None
    line: int = 0

    @property
    def managed(self) -> bool:
        """Whether its file is made for each job."""
        return self.context_disc or self.disk_source is not None

    @property
    def scratch(self) -> bool:
        """Whether what is written to it dies with the job."""
        return self.disk_source is not None and not (
            self.read_only or self.disk_source.create == "once"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """A site's domain template.

    Args:
        path: its file.
        prepare_method: how the guest is told its job: ``CDROM``.
        hypervisor: ``KVM``, ``QEMU``, ``XEN3``, ``XEN4``; None: the node's accelerator.
        disks: in the order of the file.
        vcpus: virtual processors, if the template says.
        memory_mib: memory in MiB, if the template says.
        own_network: it has an `<interface>`, so no forwarded port is added.
        tree: the document as written.
    """

    path: Path
    prepare_method: str = DEFAULT_METHOD
    hypervisor: str | None = None
    disks: tuple[TemplateDisk, ...] = ()
    vcpus: int | None = None
    memory_mib: int | None = None
    own_network: bool = False
    tree: Tree = field(repr=False, compare=False)


def build(tree: Tree, tags: Tags, path: Path) -> Template:
    """Make the model of a document whose tags are checked.

    Raises:
        TemplateError: values that don't go together.
    """
    root, place = tree.getroot(), tags.place
    config = root.find("vbconfig")
    method = tags.one(config, "vbpreparemethod")
    hypervisor = tags.one(config, "vbhypervisor")
    template = Template(
        path=path,
        prepare_method=str(method.text) if method else DEFAULT_METHOD,
        hypervisor=str(hypervisor.text) if hypervisor else None,
        disks=tuple(_disk(disk, tags) for disk in root.iterfind("devices/disk")),
        vcpus=_vcpus(root, place),
        memory_mib=_memory(root, place),
        own_network=root.find("devices/interface") is not None,
        tree=tree,
    )
    _check_disks(template, place)
    return template


def _disk(disk: Element, tags: Tags) -> TemplateDisk:
    place, target, source = tags.place, disk.find("target"), disk.find("source")
    name = None if target is None else target.get("dev")
    if target is None or not name:
        raise place.error(disk, "the disk has no <target dev='…'/>", "add one, such as vda")
    disc, file = tags.one(disk, "vbpreparecdrom"), None if source is None else source.get("file")
    key, contents = _user_image(disk, tags), tags.one(disk, "vbdisksource")
    if disc and (contents or key):
        raise place.error(
            disc.element, f"disk {name} is the disc and has a source too", "use two disks"
        )
    if (disc or contents or key) and disk.find("backingStore") is not None:
        raise place.error(
            disk, f"disk {name} has a <backingStore>", "remove it: the disk is made for each job"
        )
    return TemplateDisk(
        target=name,
        bus=target.get("bus"),
        device=disk.get("device", "disk"),
        disk_source=_disk_source(contents, key, file, place),
        context_disc=disc is not None,
        user_image=key,
        read_only=disk.find("readonly") is not None or disc is not None,
        file=file,
        line=line_of(disk),
    )


def _user_image(disk: Element, tags: Tags) -> str | None:
    found = tags.one(disk, "vbuserimage")
    if found is None:
        return None
    name = found.word("name")
    if name and found.text and name != found.text:
        raise tags.place.error(
            found.element,
            f"<vbuserimage> has the name {name!r} and the text {found.text!r}",
            "keep one of them",
        )
    return name or (str(found.text) if found.text else DEFAULT_KEY)


def _disk_source(
    found: Found | None, key: str | None, file: str | None, place: Place
) -> DiskSource | None:
    if found is None:
        return DiskSource(source=file) if key else None
    source = DiskSource(
        source=found.word("source"),
        copy_method=found.word("copy_method"),
        size_mib=found.number("size"),
        create=found.word("create"),
        format=found.word("format"),
    )
    if source.create and source.size_mib is None:
        raise place.error(found.element, "<vbdisksource> has create without size", "add size='MiB'")
    if source.size_mib is not None and not source.create:
        raise place.error(
            found.element, "<vbdisksource> has size without create", "add create='always'"
        )
    if source.create and (source.copy_method or key):
        raise place.error(
            found.element,
            "<vbdisksource> makes an empty disk and copies an image",
            "remove create and size, or copy_method and <vbuserimage>",
        )
    if not (source.source or source.create or key):
        raise place.error(
            found.element,
            "<vbdisksource> lacks the attribute source",
            "add source='IMAGE', or <vbuserimage/> if the submitter says",
        )
    return source


def _check_disks(template: Template, place: Place) -> None:
    for index, disk in enumerate(template.disks):
        for other in template.disks[:index]:
            _check_pair(disk, other, place)
    if template.prepare_method == "CDROM" and not any(d.context_disc for d in template.disks):
        raise place.error(
            line_of(template.tree.getroot()),
            "no disk has <vbpreparecdrom/>, and the method is CDROM",
            "add a read-only disk with <vbpreparecdrom/>, as in templates-vm/linux.xml",
        )


def _check_pair(disk: TemplateDisk, other: TemplateDisk, place: Place) -> None:
    if disk.target == other.target:
        raise place.error(
            disk.line,
            f"two disks have the target {disk.target}, the other in line {other.line}",
            "give one of them another name",
        )
    if disk.context_disc and other.context_disc:
        raise place.error(
            disk.line,
            f"two disks have <vbpreparecdrom>, the other in line {other.line}",
            "keep one of them",
        )
    if disk.user_image and disk.user_image == other.user_image:
        raise place.error(
            disk.line,
            f"two disks have the <vbuserimage> {disk.user_image}, the other in line {other.line}",
            "name another key: <vbuserimage>KEY</vbuserimage>",
        )


def _vcpus(root: Element, place: Place) -> int | None:
    element = root.find("vcpu")
    if element is None:
        return None
    text = (element.text or "").strip()
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise place.error(element, f"<vcpu> is {text!r}", "allowed: a number from 1")
    return int(text)


def _memory(root: Element, place: Place) -> int | None:
    element = root.find("memory")
    if element is None:
        return None
    text, unit = (element.text or "").strip(), element.get("unit", "KiB")
    if not text.isascii() or not text.isdigit() or int(text) < 1 or unit not in _UNITS:
        raise place.error(
            element, f"<memory> is {text!r} {unit!r}", "write <memory unit='MiB'>512</memory>"
        )
    return -(-int(text) * _UNITS[unit] // (1 << 20))
