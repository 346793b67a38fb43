"""The devices by which the host and the guest know of each other, and what a guest does without."""

from __future__ import annotations

from vmbatch.domainxml.model import Template
from vmbatch.domainxml.values import CHANNEL, DomainValues, Step
from vmbatch.domainxml.xml import Element, add, ensure
from vmbatch.errors import TemplateError


def _console(root: Element, _: Template, values: DomainValues) -> None:
    devices = ensure(root, "devices")
    port = devices.find("serial")
    if port is None:
        port = devices.find("console")
    if port is None:
        port = add(devices, "serial", type="pty")
        add(port, "target", port="0")
    if port.find("log") is None:
        add(port, "log", file=str(values.console_log), append="off")


def _channel(root: Element, _: Template, values: DomainValues) -> None:
    channel = add(ensure(root, "devices"), "channel", type="unix")
    add(channel, "source", mode="bind", path=str(values.channel))
    add(channel, "target", type="virtio", name=CHANNEL)


def _shares(root: Element, template: Template, values: DomainValues) -> None:
    devices = ensure(root, "devices")
    taken = {target.get("dir") for target in devices.iterfind("filesystem/target")}
    for tag, directory in values.shares:
        if tag in taken:
            raise TemplateError(
                f"{template.path}: a <filesystem> has the target {tag!r}, which a share needs",
                hint="give it another name",
            )
        # squash: QEMU makes files as itself, that is, as the job's owner. remap: file systems that
        # are mounted below the directory keep their inode numbers apart.
        share = add(devices, "filesystem", type="mount", accessmode="squash", multidevs="remap")
        add(share, "source", dir=str(directory))
        add(share, "target", dir=tag)


def _random(root: Element, _: Template, __: DomainValues) -> None:
    devices = ensure(root, "devices")
    if devices.find("rng") is None:
        rng = add(devices, "rng", model="virtio")
        add(rng, "backend", "/dev/urandom", model="random")


def _usb(root: Element, _: Template, __: DomainValues) -> None:
    devices = ensure(root, "devices")
    uses = ("controller[@type='usb']", "*[@bus='usb']", "*/target[@bus='usb']", "hub")
    if not any(devices.find(use) is not None for use in (*uses, "hostdev[@type='usb']")):
        add(devices, "controller", type="usb", model="none")


def _balloon(root: Element, _: Template, __: DomainValues) -> None:
    devices = ensure(root, "devices")
    if devices.find("memballoon") is None:
        add(devices, "memballoon", model="none")


STEPS = (
    Step(
        what="`<serial>`",
        rule="The template's first `<serial>`, or else `<console>`, is kept, and gets a "
        "`<log>` if it has none. Otherwise a pty with a log: `virsh console` and the log both "
        "work.",
        act=_console,
    ),
    Step(
        what="`<channel>`",
        rule=f"Always added: a virtio port named `{CHANNEL}` on a unix socket. Other channels "
        "stay; a template's own of that name is refused.",
        act=_channel,
    ),
    Step(
        what="`<filesystem>`",
        rule="One is added for each shared directory (9p, `squash`: what root in the guest makes "
        "belongs to the job's owner on the host). Others stay; the same target twice is refused.",
        act=_shares,
    ),
    Step(
        what="`<rng>`",
        rule="The template's is kept. Otherwise virtio, from `/dev/urandom`.",
        act=_random,
    ),
    Step(
        what="USB",
        rule="None, unless the template has a USB controller or device.",
        act=_usb,
    ),
    Step(
        what="`<memballoon>`",
        rule="The template's is kept. Otherwise none.",
        act=_balloon,
    ),
)
