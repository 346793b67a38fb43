from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from domainxml_samples import DISC, GOLDEN, LINUX, RICH, domain, linux, template_of, values_for
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from vmbatch.domainxml.model import Template
from vmbatch.domainxml.network import quote
from vmbatch.domainxml.render import (
    METADATA_URI,
    DiskFile,
    Forward,
    JobTag,
    read_metadata,
    render,
)
from vmbatch.errors import SiteError, TemplateError

pytestmark = pytest.mark.unit

SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"

SAMPLES = {
    "linux-tcg": (linux, {}),
    "linux-kvm": (linux, {"accelerator": "kvm", "kernel": None, "outbound": True}),
    "rich-tcg": (lambda: template_of(RICH), {"vcpus": 3}),
    "rich-kvm": (lambda: template_of(RICH), {"vcpus": 4, "accelerator": "kvm"}),
    "small-tcg": (lambda: template_of(domain()), {"shares": (), "forwards": ()}),
}


def sample(name: str) -> str:
    make, changes = SAMPLES[name]
    template = make()
    return render(template, values_for(template, **changes))


def rendered(template: Template, **changes: Any) -> etree._Element:
    return etree.fromstring(render(template, values_for(template, **changes)))


def small(devices: str = DISC, top: str = "", **changes: Any) -> etree._Element:
    return rendered(template_of(domain(devices, top)), **changes)


def arguments(root: etree._Element) -> list[str]:
    return [argument.get("value", "") for argument in root.iterfind(f"{QEMU}commandline/{QEMU}arg")]


@pytest.fixture(scope="module")
def schema() -> etree.RelaxNG:
    return etree.RelaxNG(etree.parse(os.fspath(SCHEMA)))


@pytest.mark.parametrize("name", SAMPLES)
def test_golden(name: str) -> None:
    """After a wanted change: python tests/unit/test_domainxml_render.py, then read the diff."""
    assert sample(name) == (GOLDEN / f"{name}.xml").read_text()


@pytest.mark.parametrize("name", SAMPLES)
def test_libvirts_own_schema(name: str, schema: etree.RelaxNG) -> None:
    schema.assertValid(etree.fromstring(sample(name)))


TOP = [child for child in etree.fromstring(RICH) if isinstance(child.tag, str)]


@given(order=st.permutations(range(len(TOP))), split=st.integers(0, len(TOP)))
def test_any_order_of_the_template_validates(
    schema: etree.RelaxNG, order: list[int], split: int
) -> None:
    root = etree.fromstring("<domain/>")
    for index in order:
        root.append(etree.fromstring(etree.tostring(TOP[index], with_tail=False)))
    root.insert(split, etree.Comment(" here "))
    schema.assertValid(rendered(template_of(etree.tostring(root, encoding="unicode"))))


@pytest.mark.parametrize("name", SAMPLES)
def test_no_tag_is_left_and_the_template_is_as_before(name: str) -> None:
    template = SAMPLES[name][0]()
    before = etree.tostring(template.tree)
    root = etree.fromstring(render(template, values_for(template)))
    names = [str(e.tag) for e in root.iter() if isinstance(e.tag, str)]
    assert not [name for name in names if name.startswith("vb")]
    assert etree.tostring(template.tree) == before
    assert render(template, values_for(template)) == render(template, values_for(template))


COMMENTS = st.text("abc xyz", max_size=6).map(lambda text: f"<!--{text}-->")
OTHERS = st.sampled_from(
    ["<sound model='ich9'/>", "<hub type='usb'/>", "<video/>", "\n  ", "\n\n    ", "<x>text</x>"]
)
TAGGED = "<disk type='file'><!--a--><vbuserimage>{}</vbuserimage> <target dev='{}'/><!--b--></disk>"


@given(st.lists(st.one_of(COMMENTS, OTHERS), max_size=12), st.integers(0, 12))
def test_what_the_administrator_wrote_stays_in_its_order(parts: list[str], at: int) -> None:
    devices = [*parts[:at], TAGGED.format("k", "vdk"), *parts[at:], DISC]
    root = small("".join(devices))
    written = etree.fromstring(domain("".join(devices)))
    kept = [e for e in written.find("devices") if e.tag != "disk"]
    mine = {"serial", "channel", "filesystem", "rng", "controller", "memballoon", "disk"}
    after = [e for e in root.find("devices") if e.tag not in mine]
    assert [_plain(e) for e in after] == [_plain(e) for e in kept]


def _plain(element: etree._Element) -> bytes:
    return etree.tostring(element, with_tail=False)


def test_text_around_a_removed_tag_stays() -> None:
    template = template_of(domain(top="<description>one</description>two<vbconfig/>three"))
    assert "twothree" in render(template, values_for(template))


def test_only_lines_of_the_default_template_that_carry_tags_are_gone() -> None:
    template = linux()
    lines = {line.strip() for line in render(template, values_for(template)).splitlines()}
    written = LINUX.read_text().replace("'", '"')
    start, end = written.index("<vbconfig>"), written.index("</vbconfig>")
    for line in (written[:start] + written[end:]).splitlines()[1:]:
        gone = "<vb" in line or "</vb" in line or line.strip() in ("", "<domain>")
        if not gone and "driver" not in line:
            assert line.strip() in {known.replace("'", '"') for known in lines}


@pytest.mark.parametrize("name", SAMPLES)
def test_qemu_is_always_the_owners(name: str) -> None:
    root = etree.fromstring(sample(name))
    (label,) = root.iter("seclabel")
    assert label.getparent() is root
    assert dict(label.attrib) == {"type": "static", "model": "dac", "relabel": "no"}
    assert label.findtext("label") == "+1001:+1002"


@pytest.mark.parametrize(("uid", "gid"), [(0, 0), (-1, 100), (1000, -1)])
def test_no_machine_for_root(uid: int, gid: int) -> None:
    with pytest.raises(SiteError, match="can't run as uid"):
        rendered(linux(), uid=uid, gid=gid)


def test_metadata_come_back() -> None:
    template = linux()
    xml = render(template, values_for(template, job_id="186[0].vm", owner_name="a<&'\"é"))
    assert read_metadata(xml) == JobTag(
        job_id="186[0].vm", owner_name="a<&'\"é", uid=1001, deadline="2026-01-02T03:04:05Z"
    )


@pytest.mark.parametrize(
    "xml",
    [
        "<domain/>",
        "not xml",
        "",
        "<domain><metadata/></domain>",
        "<domain><metadata><job id='1' uid='2'/></metadata></domain>",
        f"<domain><metadata><job xmlns='{METADATA_URI}' uid='2'/></metadata></domain>",
        f"<domain><metadata><job xmlns='{METADATA_URI}' id='1' uid='x'/></metadata></domain>",
        f"<domain><devices><job xmlns='{METADATA_URI}' id='1' uid='2'/></devices></domain>",
    ],
)
def test_domains_that_are_not_ours(xml: str) -> None:
    assert read_metadata(xml) is None


def test_memory_and_processors_are_the_jobs() -> None:
    root = rendered(template_of(RICH), vcpus=3, memory_mib=700)
    for name in ("memory", "currentMemory"):
        assert (root.findtext(name), root.find(name).get("unit")) == ("700", "MiB")
    assert root.findtext("vcpu") == "3"
    assert dict(root.find("vcpu").attrib) == {"placement": "static"}
    topology = {"sockets": "1", "cores": "3", "threads": "1"}
    assert dict(root.find("cpu/topology").attrib) == topology
    same = rendered(template_of(RICH), vcpus=4).find("cpu/topology")
    assert dict(same.attrib) == {"sockets": "2", "cores": "2", "threads": "1"}


HOST = "<cpu mode='host-passthrough' migratable='on'><feature name='x' policy='require'/></cpu>"
NAMED = "<cpu mode='custom'><model>Nehalem</model></cpu>"


@pytest.mark.parametrize(
    ("written", "accelerator", "mode", "model"),
    [
        ("", "kvm", "host-passthrough", None),
        (HOST, "kvm", "host-passthrough", None),
        (NAMED, "kvm", "custom", "Nehalem"),
        ("", "tcg", "custom", "qemu64"),
        (HOST, "tcg", "custom", "qemu64"),
        (NAMED, "tcg", "custom", "Nehalem"),
        ("<cpu mode='maximum'/>", "tcg", "maximum", None),
        ("<cpu><topology sockets='1' cores='2' threads='1'/></cpu>", "tcg", "custom", "qemu64"),
    ],
)
def test_cpu(written: str, accelerator: str, mode: str, model: str | None) -> None:
    root = small(top=written, accelerator=accelerator)
    assert root.get("type") == {"kvm": "kvm", "tcg": "qemu"}[accelerator]
    cpu = root.find("cpu")
    assert (cpu.get("mode"), cpu.findtext("model")) == (mode, model)
    if model == "qemu64":
        assert cpu.find("feature") is None
        assert cpu.get("migratable") is None
    if "topology" in written:
        assert cpu.find("topology") is not None


@pytest.mark.parametrize(
    ("wanted", "accelerator", "fits"),
    [
        ("KVM", "kvm", True),
        ("KVM", "tcg", False),
        ("QEMU", "tcg", True),
        ("QEMU", "kvm", False),
        ("XEN3", "tcg", False),
        ("XEN4", "kvm", False),
    ],
)
def test_the_hypervisor_that_the_template_demands(
    wanted: str, accelerator: str, fits: bool
) -> None:
    top = f"<vbconfig><vbhypervisor>{wanted}</vbhypervisor></vbconfig>"
    if fits:
        small(top=top, accelerator=accelerator)
    else:
        with pytest.raises(TemplateError, match=f"t.xml:1: the template is for {wanted}"):
            small(top=top, accelerator=accelerator)


def test_boot() -> None:
    system = small().find("os")
    assert dict(system.find("type").attrib) == {"arch": "x86_64", "machine": "q35"}
    assert system.findtext("kernel") == "/var/lib/vmbatch/images/vmlinuz"
    assert system.findtext("cmdline") == "root=/dev/vda console=ttyS0"
    assert small(top="<os><type>hvm</type></os>").find("os/type").get("machine") == "q35"
    site = small(top="<os><type machine='pc'>hvm</type><cmdline>a=1 b</cmdline></os>").find("os")
    assert site.find("type").get("machine") == "pc"
    assert site.findtext("cmdline") == "root=/dev/vda console=ttyS0 a=1 b"
    own = small(top="<os><kernel>/k</kernel></os>").find("os")
    assert [own.findtext(name) for name in ("kernel", "initrd", "cmdline")] == ["/k", None, None]
    assert small(kernel=None).find("os/cmdline") is None


def test_ends_and_features() -> None:
    root = small(top="<on_reboot>restart</on_reboot><features><pae/></features>")
    ends = [root.findtext(name) for name in ("on_poweroff", "on_reboot", "on_crash")]
    assert ends == ["destroy", "restart", "destroy"]
    assert [child.tag for child in root.find("features")] == ["pae"]
    assert [child.tag for child in small().find("features")] == ["acpi", "apic"]


def test_disks() -> None:
    boot, cache, disc, data = rendered(template_of(RICH)).iterfind("devices/disk")
    assert (boot.get("type"), disc.get("type")) == ("file", "file")
    assert dict(boot.find("driver").attrib) == {
        "name": "qemu",
        "type": "qcow2",
        "cache": "none",
        "discard": "unmap",
    }
    assert dict(cache.find("driver").attrib) == {"name": "qemu", "type": "qcow2"}
    (source,) = boot.findall("source")
    assert dict(source.attrib) == {"file": "/var/lib/vmbatch/jobs/17.vm/disk-vdb.qcow2"}
    store = boot.find("backingStore")
    assert store.find("format").get("type") == "raw"
    assert store.find("source").get("file") == "/var/lib/vmbatch/images/base"
    assert len(store.find("backingStore")) == 0
    assert disc.find("readonly") is not None
    assert disc.find("backingStore") is None
    assert data.find("source").get("file") == "/srv/data.img"


def test_the_plans_disks_must_be_the_templates() -> None:
    file = DiskFile(path=Path("/x"), format="raw")
    with pytest.raises(TemplateError, match="not those of the template: vdz"):
        small(disks={})
    with pytest.raises(TemplateError, match="not those of the template: vdq"):
        small(disks={"vdz": file, "vdq": file})


def test_network() -> None:
    forwards = (
        Forward(host_address="127.0.0.1", host_port=42001, guest_port=22),
        Forward(host_address="127.0.0.1", host_port=42002, guest_port=80),
    )
    assert arguments(small(forwards=forwards)) == [
        "-netdev",
        "user,id=vmbatch0,ipv6=off,restrict=on,hostfwd=tcp:127.0.0.1:42001-:22,"
        "hostfwd=tcp:127.0.0.1:42002-:80",
        "-device",
        "virtio-net-pci,netdev=vmbatch0,bus=pcie.0,addr=0x18,romfile=",
    ]
    assert "restrict" not in arguments(small(outbound=True))[1]


def test_network_of_the_template() -> None:
    template = template_of(domain(DISC + "<interface type='user'/>"))
    assert template.own_network
    assert arguments(rendered(template)) == []


def test_one_commandline_with_the_templates_arguments_first() -> None:
    root = rendered(template_of(RICH))
    assert len(root.findall(f"{QEMU}commandline")) == 1
    assert arguments(root)[:2] == ["-no-hpet", "-netdev"]
    assert ",bus=pci.0," in arguments(root)[-1]


def address(slot: int, bus: str = "0x00") -> str:
    return (
        f"<watchdog model='i6300esb'><address type='pci' bus='{bus}' slot='{slot:#x}'/></watchdog>"
    )


def test_the_card_avoids_the_templates_slots() -> None:
    assert "addr=0x17" in arguments(small(DISC + address(0x18)))[-1]
    assert "addr=0x18" in arguments(small(DISC + address(0x18, "0x01")))[-1]
    with pytest.raises(TemplateError, match="no PCI slot"):
        small(DISC + "".join(address(slot) for slot in range(0x10, 0x19)))


@pytest.mark.parametrize(
    "forward",
    [
        Forward(host_address="127.0.0.1,guestfwd=x", host_port=1, guest_port=1),
        Forward(host_address="", host_port=1, guest_port=1),
        Forward(host_address="127.0.0.1", host_port=0, guest_port=1),
        Forward(host_address="127.0.0.1", host_port=1, guest_port=65536),
    ],
)
def test_a_forward_can_say_nothing_else(forward: Forward) -> None:
    with pytest.raises(SiteError, match="network of the machine of job"):
        small(forwards=(forward,))


@given(st.text())
def test_quoting_for_qemu(text: str) -> None:
    assert quote(text).replace(",,", "") == text.replace(",", "")
    assert quote(text).count(",") == 2 * text.count(",")


@pytest.mark.parametrize(
    ("written", "where"),
    [
        ("", "serial"),
        ("<serial type='unix'><target port='0'/></serial>", "serial"),
        ("<console type='pty'/>", "console"),
        ("<serial type='pty'/><serial type='dev'><source path='/x'/></serial>", "serial"),
    ],
)
def test_console_log(written: str, where: str) -> None:
    devices = small(DISC + written).find("devices")
    (log,) = devices.iter("log")
    assert log.getparent() is devices.find(where)
    assert dict(log.attrib) == {
        "file": "/var/lib/vmbatch/jobs/17.vm/console.log",
        "append": "off",
    }


def test_a_log_of_the_template_stays() -> None:
    (log,) = small(DISC + "<serial type='pty'><log file='/l'/></serial>").iter("log")
    assert dict(log.attrib) == {"file": "/l"}


def test_channel() -> None:
    other, ours = rendered(template_of(RICH)).iterfind("devices/channel")
    assert other.find("target").get("name") == "org.qemu.guest_agent.0"
    assert ours.find("target").get("name") == "org.vmbatch.guest.0"
    assert dict(ours.find("source").attrib) == {
        "mode": "bind",
        "path": "/var/lib/vmbatch/jobs/17.vm/agent.sock",
    }


def test_shares() -> None:
    shares = (("home", Path("/home/a, b & <c>")), ("work", Path("/scratch")))
    found = list(small(shares=shares).iterfind("devices/filesystem"))
    assert [f.find("source").get("dir") for f in found] == ["/home/a, b & <c>", "/scratch"]
    assert [f.find("target").get("dir") for f in found] == ["home", "work"]
    assert {f.get("accessmode") for f in found} == {"squash"}
    own = DISC + "<filesystem><source dir='/opt'/><target dir='home'/></filesystem>"
    with pytest.raises(TemplateError, match="the target 'home'"):
        small(own, shares=shares)


@pytest.mark.parametrize(
    "device",
    [
        "<controller type='usb' model='qemu-xhci'/>",
        "<input type='tablet' bus='usb'/>",
        "<redirdev bus='usb' type='tcp'/>",
        "<hostdev mode='subsystem' type='usb'/>",
        "<hub type='usb'/>",
        "<disk><source file='/x'/><target dev='sda' bus='usb'/></disk>",
    ],
)
def test_usb_only_where_the_template_has_it(device: str) -> None:
    none = "devices/controller[@model='none']"
    assert small().find(none) is not None
    assert small(DISC + device).find(none) is None


def test_rng_and_balloon_of_the_template_go_before() -> None:
    devices = rendered(template_of(RICH)).find("devices")
    assert [e.findtext("backend") for e in devices.iterfind("rng")] == ["/dev/random"]
    assert [e.get("model") for e in devices.iterfind("memballoon")] == ["virtio"]
    devices = small().find("devices")
    assert [e.findtext("backend") for e in devices.iterfind("rng")] == ["/dev/urandom"]
    assert [e.get("model") for e in devices.iterfind("memballoon")] == ["none"]
    for name in ("graphics", "sound", "video", "interface"):
        assert devices.find(name) is None


def test_a_value_that_xml_can_not_hold() -> None:
    with pytest.raises(SiteError, match="`<filesystem>` of the machine"):
        small(shares=(("home", Path("/home/a\x01")),))


def test_markup_in_values_stays_text() -> None:
    evil = "'/><seclabel type='none'/><x y=\"&amp;"
    root = small(shares=(("home", Path("/" + evil)),), owner_name=evil, cmdline=evil)
    assert len(list(root.iter("seclabel"))) == 1
    assert root.findtext("os/cmdline") == evil


def test_values_are_plain_data() -> None:
    values = values_for(linux())
    with pytest.raises(dataclasses.FrozenInstanceError):
        values.uid = 0  # type: ignore[misc]


if __name__ == "__main__":
    for key in SAMPLES:
        (GOLDEN / f"{key}.xml").write_text(sample(key))
    sys.exit(0)
