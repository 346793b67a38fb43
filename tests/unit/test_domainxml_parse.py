from __future__ import annotations

import os
from pathlib import Path

import pytest
from domainxml_samples import DISC, RICH, domain, linux, template_of

from vmbatch.domainxml.model import DiskSource, TemplateDisk
from vmbatch.domainxml.parse import parse_template, parse_template_text
from vmbatch.domainxml.tags import TAGS
from vmbatch.domainxml.xml import MAX_BYTES
from vmbatch.errors import TemplateError

pytestmark = pytest.mark.unit


def refused(text: str | bytes) -> TemplateError:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(TemplateError) as caught:
        parse_template_text(data, Path("t.xml"))
    if not caught.value.hint:
        pytest.fail("an error without a cure")
    return caught.value


def disk(inner: str, target: str = "vda") -> str:
    return domain(f"<disk>{inner}<target dev='{target}'/></disk>{DISC}")


def test_the_default_template() -> None:
    template = linux()
    assert (template.prepare_method, template.hypervisor) == ("CDROM", None)
    assert (template.vcpus, template.memory_mib, template.own_network) == (None, None, False)
    system, disc = template.disks
    assert (system.target, system.user_image) == ("vda", "vbuserimage")
    assert system.disk_source == DiskSource()
    assert system.managed
    assert system.scratch
    assert (disc.target, disc.context_disc, disc.read_only) == ("vdz", True, True)
    assert disc.managed
    assert not disc.scratch


def test_the_tags_as_vmbatch_wrote_them() -> None:
    template = template_of(RICH)
    assert (template.vcpus, template.memory_mib) == (4, 2048)
    boot, cache, disc, data = template.disks
    assert boot == TemplateDisk(
        target="vdb",
        bus="virtio",
        disk_source=DiskSource(source="http://images.example/boot.img", copy_method="shared"),
        user_image="bootimage",
        line=21,
    )
    assert cache.disk_source == DiskSource(
        source="cache", size_mib=20480, create="once", format="vpc"
    )
    assert not cache.scratch
    assert (disc.device, disc.bus, disc.context_disc) == ("cdrom", "scsi", True)
    assert (data.managed, data.read_only, data.file) == (False, True, "/srv/data.img")


def test_a_user_image_alone_stands_for_the_file_of_the_template() -> None:
    template = template_of(disk("<source file='/srv/a.img'/><vbuserimage name='other'/>"))
    assert template.disks[0].user_image == "other"
    assert template.disks[0].disk_source == DiskSource(source="/srv/a.img")


@pytest.mark.parametrize("value", ["KVM", "QEMU", "XEN3", "XEN4"])
def test_hypervisors(value: str) -> None:
    text = domain(top=f"<vbconfig><vbhypervisor>\n {value}\n</vbhypervisor></vbconfig>")
    assert template_of(text).hypervisor == value


@pytest.mark.parametrize(
    ("memory", "mib"),
    [
        ("<memory>1048576</memory>", 1024),
        ("<memory unit='MB'>1000</memory>", 954),
        ("<memory unit='G'>3</memory>", 3072),
        ("<memory unit='bytes'>1</memory>", 1),
    ],
)
def test_memory_is_rounded_up_to_mib(memory: str, mib: int) -> None:
    assert template_of(domain(top=memory)).memory_mib == mib


@pytest.mark.parametrize(
    ("text", "line", "parts"),
    [
        (domain(top="<vbconfg/>"), 2, ["<vbconfg>", "did you mean vbconfig"]),
        (domain(top="<vbconfig a='1'/>"), 2, ["no attribute a", "takes none"]),
        (disk("<vbdisksource sorce='x'/>"), 4, ["no attribute sorce", "did you mean source"]),
        (domain(top="<vbpreparemethod>CDROM</vbpreparemethod>"), 2, ["domain/vbconfig"]),
        (domain(top="<vbconfig/><vbconfig/>"), 2, ["<vbconfig> stands twice", "line 2"]),
        (
            domain(top="<vbconfig><vbpreparemethod>CDRM</vbpreparemethod></vbconfig>"),
            2,
            ["text of <vbpreparemethod> is 'CDRM'", "CDROM"],
        ),
        (
            domain(top="<vbconfig><vbhypervisor/></vbconfig>"),
            2,
            ["<vbhypervisor> is empty", "KVM, QEMU, XEN3, XEN4"],
        ),
        (domain(top="<vbconfig>CDROM</vbconfig>"), 2, ["holds the text 'CDROM'"]),
        (domain(top="<vbconfig><clock/></vbconfig>"), 2, ["<clock> stands in <vbconfig>"]),
        (domain(top="<os vbboot='x'/>"), 2, ["attribute vbboot"]),
        ("<vbdomain/>", 1, ["root is <vbdomain>"]),
        (disk("<vbdisksource source=''/>"), 4, ["source of <vbdisksource> is empty"]),
        (disk("<vbdisksource/>"), 4, ["lacks the attribute source"]),
        (disk("<vbdisksource source='x' copy_method='x'/>"), 4, ["shared, download"]),
        (disk("<vbdisksource create='always' size='0'/>"), 4, ["from 1 to"]),
        (disk("<vbdisksource create='always' size='-1'/>"), 4, ["'-1'"]),
        (disk("<vbdisksource create='always' size='1G'/>"), 4, ["MiB"]),
        (disk("<vbdisksource create='always'/>"), 4, ["create without size"]),
        (disk("<vbdisksource source='x' size='1'/>"), 4, ["size without create"]),
        (
            disk("<vbdisksource create='always' size='1' copy_method='shared'/>"),
            4,
            ["makes an empty disk and copies"],
        ),
        (disk("<vbdisksource source='x' format='vdi'/>"), 4, ["qcow2, raw, vpc, vhd (= vpc)"]),
        (disk("<vbuserimage>A B</vbuserimage>"), 4, ["'A B'"]),
        (disk("<vbuserimage name='a'>b</vbuserimage>"), 4, ["name 'a' and the text 'b'"]),
        (disk("<vbpreparecdrom/>"), 4, ["two disks have <vbpreparecdrom>"]),
        (disk("<vbpreparecdrom/><vbuserimage/>"), 4, ["is the disc and has a source too"]),
        (disk("<vbuserimage/>", "vdz"), 4, ["two disks have the target vdz"]),
        (disk("<vbuserimage/><backingStore/>"), 4, ["<backingStore>"]),
        (
            domain(
                "<disk><vbuserimage/><target dev='a'/></disk>\n"
                f"<disk><vbuserimage/><target dev='b'/></disk>{DISC}"
            ),
            5,
            ["two disks have the <vbuserimage>", "line 4"],
        ),
        (domain("<disk><vbpreparecdrom/></disk>"), 4, ["no <target dev"]),
        (domain(""), 1, ["no disk has <vbpreparecdrom/>"]),
        (domain(top="<vcpu>two</vcpu>"), 2, ["<vcpu> is 'two'"]),
        (domain(top="<vcpu>0</vcpu>"), 2, ["<vcpu> is '0'"]),
        (domain(top="<memory unit='furlong'>1</memory>"), 2, ["furlong"]),
        (domain(top="<memory>-1</memory>"), 2, ["'-1'"]),
        (domain(top="<seclabel type='none'/>"), 2, ["<seclabel>", "owner's uid"]),
        (
            disk("<source file='x'><seclabel relabel='yes'/></source>"),
            4,
            ["can't have a <seclabel>"],
        ),
        (
            domain(
                DISC + "<channel type='unix'><target type='virtio' name='org.vmbatch.guest.0'/>"
                "</channel>"
            ),
            4,
            ["org.vmbatch.guest.0 is reserved"],
        ),
        (
            domain(top="<metadata><j xmlns='urn:vmbatch:job:1'/></metadata>"),
            2,
            ["urn:vmbatch:job:1 is reserved"],
        ),
        (
            domain(
                top="<commandline xmlns='http://libvirt.org/schemas/domain/qemu/1.0'/>\n"
                "<commandline xmlns='http://libvirt.org/schemas/domain/qemu/1.0'/>"
            ),
            3,
            ["second <qemu:commandline>"],
        ),
        ("<network/>", 1, ["root is <network>"]),
        ("<domain>\n<os>\n</domain>", 3, ["not well-formed"]),
        ("", 1, ["not well-formed"]),
    ],
)
def test_each_mistake_has_file_line_cause_and_cure(text: str, line: int, parts: list[str]) -> None:
    error = refused(text)
    assert error.message.startswith(f"t.xml:{line}: ")
    for part in parts:
        assert part in str(error)


@pytest.mark.parametrize("name", TAGS)
def test_every_tag_is_refused_elsewhere(name: str) -> None:
    error = refused(f"<domain><os><{name}/></os></domain>")
    assert "stands in <domain/os>" in error.message
    assert f"<{TAGS[name].parent}>" in error.hint


@pytest.mark.parametrize(
    "doctype",
    [
        b"<!DOCTYPE domain>",
        b"<!DOCTYPE domain SYSTEM 'file:///etc/passwd'>",
        b"<!DOCTYPE domain PUBLIC '-//x' 'http://127.0.0.1:1/x'>",
        b"<!DOCTYPE domain [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>",
    ],
)
def test_no_doctype(doctype: bytes) -> None:
    assert "DOCTYPE" in refused(doctype + domain().encode()).message
    text = '<?xml version="1.0" encoding="UTF-16"?>' + doctype.decode() + domain()
    assert "DOCTYPE" in refused(text.encode("utf-16")).message


def test_entities_do_not_read_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("sesame")
    text = f"<!DOCTYPE d [<!ENTITY x SYSTEM '{secret}'>]><domain><vcpu>&x;</vcpu></domain>"
    assert "sesame" not in str(refused(text))


def test_size_is_limited() -> None:
    assert "too much" in refused(domain(top=" " * MAX_BYTES)).message


def make(path: Path, mode: int) -> Path:
    path.write_text(domain())
    path.chmod(mode)
    return path


def test_a_file_that_only_its_owner_can_write(tmp_path: Path) -> None:
    path = make(tmp_path / "t.xml", 0o644)
    assert parse_template(path).path == path


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(TemplateError, match="can write to the template"):
        parse_template(make(tmp_path / "t.xml", mode))


def test_the_file_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "t.xml", 0o644)
    real = os.fstat

    def fstat(fd: int) -> os.stat_result:
        fields = list(real(fd))
        fields[4] = os.geteuid() + 4242
        return os.stat_result(fields)

    monkeypatch.setattr("vmbatch.domainxml.parse.os.fstat", fstat)
    with pytest.raises(TemplateError, match="chown root"):
        parse_template(path)


def test_no_file_and_no_ordinary_file(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="can't be read: No such file"):
        parse_template(tmp_path / "none.xml")
    with pytest.raises(TemplateError, match="can't be read: Is a directory"):
        parse_template(tmp_path)
    with pytest.raises(TemplateError, match="not a file"):
        parse_template(Path("/dev/null"))
