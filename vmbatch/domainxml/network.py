"""The user-mode network with forwarded ports: QEMU's arguments, libvirt has no words for it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from lxml import etree

from vmbatch.domainxml.model import Template
from vmbatch.domainxml.values import QEMU_URI, DomainValues, Forward, Step
from vmbatch.domainxml.xml import Element, append
from vmbatch.errors import TemplateError

_COMMANDLINE = f"{{{QEMU_URI}}}commandline"
_ARG = f"{{{QEMU_URI}}}arg"
_NAME = "vmbatch0"
# libvirt does not know of this card, so its slot is one that libvirt's own count, which goes up
# from 1, does not reach: on q35 that would take 120 devices. 0x1a and up have fixed tenants there.
_SLOTS = tuple(range(0x18, 0x0F, -1))


def quote(text: str) -> str:
    """Quote a value of a QEMU option: commas are doubled."""
    return text.replace(",", ",,")


def _network(root: Element, template: Template, values: DomainValues) -> None:
    if template.own_network:
        return
    bus = "pcie.0" if "q35" in _machine(root) else "pci.0"
    card = f"virtio-net-pci,netdev={_NAME},bus={bus},addr={_slot(root, template):#04x},romfile="
    commandline = root.find(_COMMANDLINE)
    if commandline is None:
        commandline = append(root, etree.Element(_COMMANDLINE, nsmap={"qemu": QEMU_URI}))
    for argument in ("-netdev", ",".join(_netdev(values)), "-device", card):
        append(commandline, etree.Element(_ARG, value=argument))


def _netdev(values: DomainValues) -> Iterator[str]:
    yield f"user,id={_NAME}"
    # Without it, guests on a host that has no IPv6 try it first.
    yield "ipv6=off"
    if not values.outbound:
        yield "restrict=on"
    for forward in values.forwards:
        yield f"hostfwd={quote(_forward(forward))}"


def _forward(forward: Forward) -> str:
    for port in (forward.host_port, forward.guest_port):
        if not 1 <= port <= 65535:
            raise ValueError(f"port {port} is not between 1 and 65535")
    return f"tcp:{IPv4Address(forward.host_address)}:{forward.host_port}-:{forward.guest_port}"


def _machine(root: Element) -> str:
    kind = root.find("os/type")
    return "" if kind is None else kind.get("machine", "")


def _slot(root: Element, template: Template) -> int:
    taken = {
        int(address.get("slot", "0"), 0)
        for address in root.iterfind("devices//address[@type='pci']")
        if int(address.get("bus", "0"), 0) == 0
    }
    for slot in _SLOTS:
        if slot not in taken:
            return slot
    raise TemplateError(
        f"{template.path}: no PCI slot is left for the network card",
        hint=f"free one of the slots {_SLOTS[-1]:#x} to {_SLOTS[0]:#x} of bus 0",
    )


STEPS = (
    Step(
        what="network",
        rule="An `<interface>` of the template is kept: then nothing is added and no port is "
        "forwarded. Otherwise a virtio card on QEMU's user-mode network, with the forwarded "
        "ports, closed to the outside unless the site opens it, as arguments in the one "
        "`<qemu:commandline>`, behind those that the template has there.",
        act=_network,
    ),
)
