"""What runs a guest: what the profile wants, what the node proved, what the owner may open."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vmbatch import node
from vmbatch.config import Site, load_site
from vmbatch.errors import SiteError
from vmbatch.hypervisor import accelerator
from vmbatch.job import Owner

pytestmark = pytest.mark.unit

OWNER = Owner(
    name="alice", uid=4711, gid=4711, group="alice", groups=(("alice", 4711),), home="/", shell="/"
)


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kvm"
    path.touch()
    path.chmod(0o666)
    monkeypatch.setattr(node, "KVM", path)
    return path


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site whose node has proved that KVM works."""
    file = tmp_path / "site.yaml"
    file.write_text(f"paths: {{state: {tmp_path / 'state'}, images: {tmp_path / 'images'}}}")
    proved = tmp_path / "state" / "accelerator.json"
    proved.parent.mkdir()
    answer = {"node": accelerator._identity(), "kind": "kvm", "reason": "a kernel ran under KVM"}
    proved.write_text(json.dumps(answer))
    return load_site(file)


def test_auto_takes_what_the_node_proved(site: Site, device: Path) -> None:
    assert node.accelerator(site, owner=OWNER).kind == "kvm"
    assert node.accelerator(site, "tcg", owner=OWNER).kind == "tcg"


def test_an_answer_for_another_kernel_does_not_count(site: Site, device: Path) -> None:
    remembered = site.paths.state / "accelerator.json"
    remembered.write_text(remembered.read_text().replace('"node": "', '"node": "other '))
    found = accelerator.find(remembered, kernels=[], seconds=1)
    assert found.kind == "tcg"


def test_an_owner_who_cannot_open_it_gets_emulation_and_the_reason(
    site: Site, device: Path
) -> None:
    device.chmod(0o660)
    found = node.accelerator(site, owner=OWNER)
    assert (found.kind, "can't open" in found.reason) == ("tcg", True)
    with pytest.raises(SiteError, match="demands KVM") as caught:
        node.accelerator(site, "kvm", owner=OWNER)
    assert "0666" in caught.value.hint


def test_the_group_of_the_device_is_enough(device: Path) -> None:
    device.chmod(0o660)
    gid = device.stat().st_gid
    member = replace(OWNER, groups=(("alice", 4711), ("kvm", gid)))
    assert not node.may_open(device, OWNER)
    assert node.may_open(device, member)
    assert not node.may_open(device.with_name("none"), member)
