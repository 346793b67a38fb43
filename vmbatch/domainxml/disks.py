"""The files of the disks."""

from __future__ import annotations

from vmbatch.domainxml.model import Template, TemplateDisk
from vmbatch.domainxml.values import DiskFile, DomainValues, Step
from vmbatch.domainxml.xml import Element, add, ensure, remove, set_all, set_missing
from vmbatch.errors import TemplateError


def _disks(root: Element, template: Template, values: DomainValues) -> None:
    wanted = {disk.target for disk in template.disks if disk.managed}
    if wanted != set(values.disks):
        names = ", ".join(sorted(wanted ^ set(values.disks)))
        raise TemplateError(
            f"{template.path}: the disks of the plan are not those of the template: {names}",
            hint="give a file for each disk with a vb* tag, and for no other",
        )
    # In the order of the file, which is that of the model.
    for element, disk in zip(root.iterfind("devices/disk"), template.disks, strict=True):
        if disk.managed:
            _fill(element, disk, values.disks[disk.target])


def _fill(element: Element, disk: TemplateDisk, file: DiskFile) -> None:
    element.set("type", "file")
    driver = ensure(element, "driver")
    set_all(driver, name="qemu", type=file.format)
    if disk.scratch:
        # Nothing of it outlives the job, so nothing needs to reach the host's disk.
        set_missing(driver, cache="unsafe", discard="unmap")
    for source in element.findall("source"):
        if source.get("file") is None and (source.attrib or len(source)):
            remove(source)
    ensure(element, "source").set("file", str(file.path))
    if file.backing is not None:
        _chain(element, file.backing)
    if disk.read_only and element.find("readonly") is None:
        add(element, "readonly")


def _chain(above: Element, file: DiskFile) -> None:
    store = add(above, "backingStore", type="file")
    add(store, "format", type=file.format)
    add(store, "source", file=str(file.path))
    if file.backing is None:
        add(store, "backingStore")  # an empty one ends the chain
    else:
        _chain(store, file.backing)


STEPS = (
    Step(
        what="`<disk>` with a `vb*` tag",
        rule="`<source>` becomes the job's file, `<backingStore>` what lies below it; `<driver>` "
        "gets `name='qemu'` and the file's format. On a disk that dies with the job, "
        "`cache='unsafe'` and `discard='unmap'` are added where the template has no such "
        "attribute. The disc becomes read-only. Other disks stay.",
        act=_disks,
    ),
)
