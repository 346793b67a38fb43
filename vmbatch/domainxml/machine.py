"""The machine itself: hypervisor, memory, processors, boot."""

from __future__ import annotations

from math import prod

from lxml import etree

from vmbatch.domainxml.model import Template
from vmbatch.domainxml.values import DomainValues, Step
from vmbatch.domainxml.xml import Element, add, drop, ensure, line_of, set_all, set_text
from vmbatch.errors import TemplateError

# The fastest model under TCG; larger ones cost time for instructions that are emulated one by one.
TCG_MODEL = "qemu64"
MACHINE = "q35"


def _hypervisor(root: Element, template: Template, values: DomainValues) -> None:
    kind = "kvm" if values.accelerator == "kvm" else "qemu"
    wanted = {"KVM": "kvm", "QEMU": "qemu", None: kind}.get(template.hypervisor)
    if wanted != kind:
        raise TemplateError(
            f"{template.path}:{line_of(root)}: the template is for {template.hypervisor}, "
            f"the machine would run under {values.accelerator}",
            hint="change <vbhypervisor>, or leave it out to take what the node has",
        )
    root.set("type", kind)


def _memory(root: Element, _: Template, values: DomainValues) -> None:
    for name in ("memory", "currentMemory"):
        if name == "memory" or root.find(name) is not None:
            set_text(root, name, str(values.memory_mib)).set("unit", "MiB")


def _vcpus(root: Element, _: Template, values: DomainValues) -> None:
    vcpu = set_text(root, "vcpu", str(values.vcpus))
    drop(vcpu, "current")
    topology = root.find("cpu/topology")
    if topology is not None and prod(_counts(topology)) != values.vcpus:
        drop(topology, "dies")
        set_all(topology, sockets="1", cores=str(values.vcpus), threads="1")


def _counts(topology: Element) -> list[int]:
    names = ("sockets", "dies", "cores", "threads")
    return [int(topology.get(name, "1")) for name in names if topology.get(name, "1").isdecimal()]


def _cpu(root: Element, _: Template, values: DomainValues) -> None:
    cpu = root.find("cpu")
    if values.accelerator == "kvm":
        if cpu is None:
            # migratable='off' leaves the guest all of the host, the steady clock among it.
            add(root, "cpu", mode="host-passthrough", migratable="off")
        return
    cpu = ensure(root, "cpu")
    if cpu.get("mode") in ("host-passthrough", "host-model") or not _says_model(cpu):
        drop(cpu, "migratable")
        for child in cpu.findall("model") + cpu.findall("feature") + cpu.findall("cache"):
            cpu.remove(child)
        set_all(cpu, mode="custom", match="exact", check="none")
        model = etree.Element("model", fallback="forbid")
        model.text = TCG_MODEL
        cpu.insert(0, model)
        etree.indent(cpu, level=1)


def _says_model(cpu: Element) -> bool:
    return cpu.get("mode") == "maximum" or cpu.find("model") is not None


def _boot(root: Element, _: Template, values: DomainValues) -> None:
    system = ensure(root, "os")
    kind = system.find("type")
    if kind is None:
        kind = add(system, "type", "hvm", arch="x86_64")
    if kind.get("machine") is None and kind.get("arch", "x86_64") == "x86_64":
        kind.set("machine", MACHINE)
    if values.kernel is None or system.find("kernel") is not None:
        return
    add(system, "kernel", str(values.kernel))
    if values.initrd is not None:
        set_text(system, "initrd", str(values.initrd))
    own = (system.findtext("cmdline") or "").strip()
    line = " ".join(part for part in (values.cmdline, own) if part)
    if line:
        set_text(system, "cmdline", line)


def _features(root: Element, _: Template, __: DomainValues) -> None:
    if root.find("features") is None:
        features = add(root, "features")
        add(features, "acpi")
        add(features, "apic")


def _ends(root: Element, _: Template, __: DomainValues) -> None:
    for name in ("on_poweroff", "on_reboot", "on_crash"):
        if root.find(name) is None:
            add(root, name, "destroy")


STEPS = (
    Step(
        what="`<domain type=…>`",
        rule="Always `kvm` or `qemu`, by the node's accelerator. A template whose `vbhypervisor` "
        "is another is refused.",
        act=_hypervisor,
    ),
    Step(
        what="`<memory>`, `<currentMemory>`",
        rule="Always the job's memory: what the submitter asked for, else what the template "
        "says, else the site's default. Attributes stay, but for the unit.",
        act=_memory,
    ),
    Step(
        what="`<vcpu>`",
        rule="Always the job's number of processors, chosen in the same order. Attributes stay, "
        "but for `current`. A `<topology>` that does not multiply to it becomes one socket of as "
        "many cores.",
        act=_vcpus,
    ),
    Step(
        what="`<cpu>`",
        rule="The template's is kept. Otherwise `host-passthrough` under KVM, and the model "
        f"`{TCG_MODEL}` under TCG. Under TCG, which has no host processor to show, a template's "
        f"`host-passthrough` or `host-model` becomes `{TCG_MODEL}` too.",
        act=_cpu,
    ),
    Step(
        what="`<os>`",
        rule=f"Type `hvm` and machine `{MACHINE}` where the template names none. A template's "
        "`<kernel>` is kept, not the image's, with its `<initrd>` and `<cmdline>`. Without it, "
        "the image's kernel is booted if it has one, and a template's `<cmdline>` is put behind "
        "the image's.",
        act=_boot,
    ),
    Step(
        what="`<features>`",
        rule="The template's are kept. Otherwise `<acpi/>` and `<apic/>`.",
        act=_features,
    ),
    Step(
        what="`<on_poweroff>`, `<on_reboot>`, `<on_crash>`",
        rule="The template's are kept, each. Otherwise `destroy`: a machine that stops is over.",
        act=_ends,
    ),
)
