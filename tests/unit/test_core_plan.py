"""The plan: pure, and what it decides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vmbatch.config import Profile, Site, load_site
from vmbatch.domainxml.model import Template
from vmbatch.domainxml.parse import parse_template_text
from vmbatch.errors import ImageError, TemplateError
from vmbatch.images.store import Image
from vmbatch.job import Job, Owner
from vmbatch.plan import GuestPlan, choose_images, make_plan
from vmbatch.request import Request

pytestmark = pytest.mark.unit

OWNER = Owner(
    name="alice",
    uid=1001,
    gid=1001,
    group="alice",
    groups=(("alice", 1001), ("hpc", 2000)),
    home="/home/alice",
    shell="/bin/bash",
)
JOB = Job(
    system="torque",
    id="186[0].vm",
    name="j",
    owner=OWNER,
    workdir="/home/alice/run",
    script=Path("/var/spool/torque/mom_priv/jobs/186-0.vm.SC"),
)
TINY = Image(
    name="tiny",
    digest="0" * 64,
    path=Path("/images/tiny"),
    format="qcow2",
    virtual_size=1 << 30,
    kernel=Path("/images/vmlinux"),
    initrd=Path("/images/initrd"),
    cmdline="quiet",
    shares=("9p", "smb"),
    created="",
    origin="",
    description="",
    ready="channel",
)
PROFILE = Profile(name="default")
DISC = "<disk type='file'><vbpreparecdrom/><target dev='vdz' bus='virtio'/></disk>"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    file = tmp_path / "site.yaml"
    file.write_text("{}")
    return load_site(file)


def _template(disk: str, extra: str = "") -> Template:
    text = f"<domain><devices>{disk}{DISC}{extra}</devices></domain>"
    return parse_template_text(text.encode(), Path("t.xml"))


def _disk(tags: str, target: str = "vda") -> str:
    return f"<disk type='file'>{tags}<target dev='{target}' bus='virtio'/></disk>"


USER_DISK = _disk("<vbdisksource/><vbuserimage/>")


def _plan(
    site: Site,
    *,
    job: Job = JOB,
    request: Request | None = None,
    profile: Profile = PROFILE,
    template: Template | None = None,
    image: Image = TINY,
) -> GuestPlan:
    return make_plan(
        job,
        request=request or Request(),
        profile=profile,
        site=site,
        template=template or _template(USER_DISK),
        images={"vda": image},
    )


def test_same_input_same_plan(site: Site) -> None:
    template = _template(USER_DISK)
    assert _plan(site, template=template) == _plan(site, template=template)


def test_names_are_fit_for_libvirt_and_for_a_host_name(site: Site) -> None:
    plan = _plan(site)
    assert plan.domain == f"vmbatch-{JOB.slug}"
    assert "[" not in plan.domain
    assert plan.hostname == "vm-186-0--vm"
    assert plan.script_dir == "/var/spool/torque/mom_priv/jobs"


def test_the_image_brings_its_kernel(site: Site) -> None:
    plan = _plan(site)
    assert (plan.kernel, plan.initrd, plan.cmdline) == (TINY.kernel, TINY.initrd, "quiet")
    assert plan.discs == ("vdz",)


@pytest.mark.parametrize(
    ("cores", "asked", "given", "most", "vcpus"),
    [
        (None, None, None, None, 1),
        (4, None, None, None, 4),
        (4, None, None, 2, 2),
        (4, 3, None, None, 3),
        (4, None, 2, None, 2),
    ],
)
def test_processors(
    site: Site,
    cores: int | None,
    asked: int | None,
    given: int | None,
    most: int | None,
    vcpus: int,
) -> None:
    plan = _plan(
        site,
        job=replace(JOB, cores=cores),
        request=Request(vcpus=asked),
        profile=Profile(name="p", vcpus=given, max_vcpus=most),
    )
    assert plan.vcpus == vcpus


@pytest.mark.parametrize(
    ("job_has", "asked", "most", "mib"),
    [
        (None, None, None, 512),
        (2048, None, None, 2048),
        (100, None, None, 512),
        (4096, None, 1024, 1024),
        (4096, 700, None, 700),
    ],
)
def test_memory(
    site: Site, job_has: int | None, asked: int | None, most: int | None, mib: int
) -> None:
    plan = _plan(
        site,
        job=replace(JOB, memory_mib=job_has),
        request=Request(ram_mib=asked),
        profile=Profile(name="p", max_ram_mib=most),
    )
    assert plan.memory_mib == mib


def test_the_template_goes_before_the_profile(site: Site) -> None:
    text = f"<domain><memory unit='GiB'>2</memory><vcpu>3</vcpu><devices>{USER_DISK}{DISC}"
    template = parse_template_text(f"{text}</devices></domain>".encode(), Path("t.xml"))
    plan = _plan(site, template=template)
    assert (plan.memory_mib, plan.vcpus) == (2048, 3)


def test_a_known_image_is_offered_its_best_way_alone(site: Site) -> None:
    assert _plan(site).share_ways == ("9p",)
    assert _plan(site, image=replace(TINY, shares=())).share_ways == ("9p", "smb")


def test_without_a_way_out_there_is_no_smb(site: Site) -> None:
    closed = replace(site, network=replace(site.network, outbound=False))
    assert _plan(closed, image=replace(TINY, shares=())).share_ways == ("9p",)


def test_home_and_workdir_in_it_are_one_share(site: Site) -> None:
    assert [share.path for share in _plan(site).shares] == ["/home/alice"]


def test_an_empty_disk(site: Site) -> None:
    empty = _disk("<vbdisksource create='always' size='20480' format='raw'/>", "vdb")
    plan = _plan(site, template=_template(USER_DISK + empty))
    scratch = plan.disks[1]
    assert (scratch.image, scratch.format, scratch.size_mib) == (None, "raw", 20480)


@pytest.mark.parametrize(
    ("images", "tags", "default", "chosen"),
    [
        ((("vbuserimage", "tiny"),), "<vbdisksource/><vbuserimage/>", None, "tiny"),
        ((), "<vbdisksource/><vbuserimage/>", "deb", "deb"),
        ((), "<vbdisksource source='own'/><vbuserimage/>", None, "own"),
        ((("root", "mine"),), "<vbdisksource/><vbuserimage name='root'/>", "deb", "mine"),
        ((("vbuserimage", "tiny"),), "<vbdisksource source='own'/>", None, "own"),
    ],
)
def test_which_image(
    images: tuple[tuple[str, str], ...], tags: str, default: str | None, chosen: str
) -> None:
    template = _template(_disk(tags))
    profile = Profile(name="p", image=default)
    assert choose_images(template, Request(images=images), profile) == {"vda": chosen}


def test_no_image_at_all_names_key_and_profile() -> None:
    with pytest.raises(ImageError, match=r"vda.*default") as caught:
        choose_images(_template(USER_DISK), Request(), PROFILE)
    assert "-l other=vbuserimage=IMAGE" in caught.value.hint


@pytest.mark.parametrize(
    "tags",
    [
        "<vbdisksource source='x' create='once' size='1'/>",
        "<vbdisksource source='x' copy_method='download'/>",
        "<vbdisksource source='http://a/b'/>",
    ],
)
def test_what_this_version_cannot_do_is_refused_by_line(tags: str) -> None:
    with pytest.raises(TemplateError, match=r"t\.xml:1: .*this version can't"):
        choose_images(_template(_disk(tags)), Request(), PROFILE)


def test_an_own_network_needs_the_channel(site: Site) -> None:
    template = _template(USER_DISK, "<interface type='bridge'><source bridge='br0'/></interface>")
    with pytest.raises(TemplateError, match="network of its own"):
        _plan(site, template=template, profile=Profile(name="p", ready="ssh"))
