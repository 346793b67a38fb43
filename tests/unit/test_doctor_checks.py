from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from vmbatch.batch.momconfig import MomConfig
from vmbatch.cli.doctor import report, text_of
from vmbatch.doctor import mom, node, store, virtualization
from vmbatch.doctor.finding import Finding, Level, can_run, fail, ok, warn
from vmbatch.errors import HypervisorError, ImageError, SiteError

pytestmark = pytest.mark.unit

GIB = 1 << 30
SCRIPTS = Path("/opt/vmbatch/scripts")


def test_a_job_can_run_with_warnings_but_not_with_a_failure() -> None:
    assert can_run([ok("a", "b"), warn("a", "b", "c")])
    assert not can_run([ok("a", "b"), fail("a", "b", "c")])


def test_report_prints_a_line_each_and_the_cure(capsys: pytest.CaptureFixture[str]) -> None:
    status = report([ok("ssh", "/usr/bin/ssh")], as_json=False, colours=False)
    assert (status, capsys.readouterr().out) == (0, "ok    ssh: /usr/bin/ssh\n")
    status = report([fail("QEMU", "gone", "get it")], as_json=False, colours=False)
    out = capsys.readouterr().out.splitlines()
    assert status == 1
    assert out[:2] == ["fail  QEMU: gone", "      cure: get it"]
    assert "1 to be mended" in out[2]


def test_report_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert report([warn("a", "b", "c")], as_json=True, colours=False) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"level": "warn", "subject": "a", "text": "b", "cure": "c"}
    ]


def test_colours_surround_the_level_alone() -> None:
    assert text_of(ok("a", "b"), colours=True) == "\x1b[32mok   \x1b[0m a: b"


def test_root() -> None:
    assert node.check_root(0).level is Level.OK
    assert node.check_root(1000).level is Level.WARN


def test_program() -> None:
    assert node.check_program("ssh", "/usr/bin/ssh").level is Level.OK
    gone = node.check_program("qemu-img", None)
    assert gone.level is Level.FAIL
    assert "qemu-utils" in gone.cure


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("QEMU emulator version 7.2.22 (Debian 1:7.2)", Level.OK),
        ("QEMU emulator version 10.0.2", Level.OK),
        ("QEMU emulator version 6.2.0", Level.WARN),
        ("", Level.FAIL),
    ],
)
def test_qemu_version(version: str, level: Level) -> None:
    assert node.check_qemu("/usr/bin/qemu-system-x86_64", version).level is level


def test_qemu_missing() -> None:
    found = node.check_qemu(None, "")
    assert found.level is Level.FAIL
    assert "qemu-system-x86" in found.cure


def test_part_is_told_with_its_version_or_its_error() -> None:
    assert node.check_part("yaml").text[0].isdigit()

    def broken(_name: str) -> object:
        raise ImportError("libvirt.so.0: cannot open shared object file")

    found = node.check_part("libvirt", broken)
    assert found.level is Level.FAIL
    assert "libvirt.so.0" in found.text


@pytest.mark.parametrize(
    ("free", "level"),
    [(3 * GIB, Level.OK), (GIB, Level.WARN), (100 << 20, Level.FAIL)],
)
def test_space(free: int, level: Level) -> None:
    assert node.check_space(Path("/var/lib/vmbatch"), free).level is level


def test_free_bytes_of_a_directory_to_come(tmp_path: Path) -> None:
    assert node.free_bytes(tmp_path / "a" / "b") == pytest.approx(
        node.free_bytes(tmp_path), rel=0.1
    )


def test_ports() -> None:
    local = "32768\t60999\n"
    assert node.check_ports(42000, 42999, local, 3).text.startswith("997 of 1000")
    assert node.check_ports(42000, 42009, local, 0).level is Level.WARN
    assert node.check_ports(2000, 2009, local, 0).level is Level.OK
    full = node.check_ports(42000, 42009, local, 10)
    assert full.level is Level.FAIL
    assert "vmbatch reap" in full.cure


@pytest.mark.parametrize(
    ("path", "mode", "level"),
    [
        ("/usr/sbin/smbd", "auto", Level.OK),
        (None, "auto", Level.WARN),
        (None, "smb", Level.FAIL),
        (None, "9p", Level.OK),
        (None, "off", Level.OK),
    ],
)
def test_samba(path: str | None, mode: str, level: Level) -> None:
    assert node.check_samba(path, mode).level is level


def test_reach() -> None:
    assert node.check_reach(SCRIPTS, None).level is Level.OK
    found = node.check_reach(Path("/root/vmbatch/scripts"), Path("/root"))
    assert found.level is Level.FAIL
    assert "/root," in found.text


def test_local_user() -> None:
    def unknown(name: str) -> object:
        raise SiteError(f"no {name}")

    assert node.check_local_user("vmdemo", str).level is Level.OK
    assert node.check_local_user("vmdemo", unknown).level is Level.WARN


def test_trust_tells_the_first_fault() -> None:
    assert node.check_trust(iter(())).level is Level.OK
    assert node.check_trust(iter(("/a belongs to uid 7", "/b"))).text == "/a belongs to uid 7"


def test_libvirt_down() -> None:
    def refused(uri: str) -> str:
        raise HypervisorError(f"can't reach libvirt at {uri}: no such socket")

    found = virtualization.check_libvirt("qemu:///system", refused)
    assert found.level is Level.FAIL
    assert "systemctl start libvirtd" in found.cure
    assert virtualization.check_libvirt("qemu:///system", lambda _uri: "9.0").level is Level.OK


def test_libvirt_binding_missing() -> None:
    def missing(_uri: str) -> str:
        raise ImportError("No module named 'libvirt'")

    assert "setup.sh" in virtualization.check_libvirt("qemu:///system", missing).cure


def test_virtlogd_passages_schema(tmp_path: Path) -> None:
    assert virtualization.check_virtlogd(listens=True).level is Level.OK
    assert virtualization.check_virtlogd(listens=False).level is Level.FAIL
    assert virtualization.check_passages(()).level is Level.OK
    closed = virtualization.check_passages(((Path("/var/lib/libvirt/qemu"), 0o750),))
    assert closed.cure == "chmod o+x /var/lib/libvirt/qemu"
    assert virtualization.check_schema(tmp_path / "domain.rng").level is Level.FAIL
    (tmp_path / "domain.rng").touch()
    assert virtualization.check_schema(tmp_path / "domain.rng").level is Level.OK


@pytest.mark.parametrize(
    ("kind", "level"), [("kvm", Level.OK), ("tcg", Level.WARN), ("", Level.FAIL)]
)
def test_accelerator(kind: str, level: Level) -> None:
    found = virtualization.check_accelerator(kind, "because")
    assert found.level is level
    assert "because" in found.text


def test_kvm() -> None:
    assert virtualization.check_kvm("tcg", None, closed=False) is None
    for kind, mode, closed, level in (
        ("tcg", 0o600, True, Level.WARN),
        ("tcg", 0o660, False, Level.OK),
        ("kvm", 0o660, False, Level.WARN),
        ("kvm", 0o666, False, Level.OK),
    ):
        found = virtualization.check_kvm(kind, mode, closed=closed)
        assert found is not None
        assert found.level is level, (kind, mode)


def hook(**changed: object) -> mom.Hook:
    values: dict[str, object] = {
        "path": Path("/mom_priv/prologue"),
        "exists": True,
        "target": SCRIPTS / "prologue",
        "uid": 0,
        "mode": 0o100755,
    }
    return mom.Hook(**{**values, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o500, 0o555, 0o550, 0o711, 0o4755])
def test_modes_that_a_mom_runs(mode: int) -> None:
    assert mom.check_hook(hook(mode=0o100000 | mode), SCRIPTS).level is Level.OK


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o775, 0o757, 0o777, 0o770, 0o100, 0o300])
def test_modes_that_a_mom_refuses(mode: int) -> None:
    found = mom.check_hook(hook(mode=0o100000 | mode), SCRIPTS)
    assert found.level is Level.FAIL
    assert f"{mode:o}" in found.text


def test_owner_and_kind_that_a_mom_refuses() -> None:
    assert "uid 1000" in mom.check_hook(hook(uid=1000), SCRIPTS).text
    assert "regular" in mom.check_hook(hook(mode=0o040755), SCRIPTS).text


def test_a_missing_a_dangling_and_a_strange_hook() -> None:
    missing = mom.check_hook(hook(exists=False, target=None), SCRIPTS)
    assert missing.level is Level.FAIL
    assert missing.cure == "ln -s /opt/vmbatch/scripts/prologue /mom_priv/prologue"
    parallel = hook(path=Path("/mom_priv/prologue.parallel"), exists=False, target=None)
    assert mom.check_hook(parallel, SCRIPTS).level is Level.WARN
    assert "nowhere" in mom.check_hook(hook(target=None), SCRIPTS).text
    strange = mom.check_hook(hook(target=Path("/site/prologue")), SCRIPTS)
    assert strange.level is Level.FAIL
    assert ".orig" in strange.cure


def test_look_at_follows_links(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")
    (tmp_path / "script").chmod(0o500)
    (tmp_path / "middle").symlink_to("script")
    (tmp_path / "prologue").symlink_to(tmp_path / "middle")
    (tmp_path / "epilogue").symlink_to("nothing")
    found = mom.look_at(tmp_path / "prologue")
    assert (found.target, found.mode & 0o777) == (tmp_path / "script", 0o500)
    assert found.uid == os.getuid()
    dangling = mom.look_at(tmp_path / "epilogue")
    assert (dangling.exists, dangling.target) == (True, None)
    assert not mom.look_at(tmp_path / "other").exists


def starter(path: str | None, *, ours: bool) -> Finding:
    config = MomConfig(job_starter=path)
    remoteshell = SCRIPTS / "remoteshell"
    return mom.check_job_starter(config, Path("/mom_priv/config"), remoteshell, lambda _: ours)


def test_job_starter() -> None:
    line = "$job_starter /opt/vmbatch/scripts/remoteshell"
    none = starter(None, ours=False)
    assert none.level is Level.WARN
    assert line in none.cure
    assert starter("/no/such/starter", ours=False).level is Level.FAIL
    assert starter("/bin/sh", ours=False).level is Level.WARN
    assert starter("/bin/sh", ours=True).level is Level.OK


@pytest.mark.parametrize("value", ["true", "1", "yes"])
def test_a_privileged_job_starter_is_a_root_hole(value: str) -> None:
    found = mom.check_privileged(f"$prologalarm 60\n$job_starter_run_privileged {value}\n")
    assert found is not None
    assert found.level is Level.FAIL


@pytest.mark.parametrize("text", ["", "$job_starter_run_privileged false\n", "# nothing\n"])
def test_an_unprivileged_job_starter_is_right(text: str) -> None:
    assert mom.check_privileged(text) is None


@pytest.mark.parametrize(
    ("limit", "kind", "level"),
    [
        (290, "tcg", Level.OK),
        (110, "tcg", Level.WARN),
        (110, "kvm", Level.OK),
        (50, "kvm", Level.WARN),
        (5, "kvm", Level.FAIL),
    ],
)
def test_limit_of_the_prologue(limit: int, kind: str, level: Level) -> None:
    assert mom.check_limit(limit, kind).level is level


def test_a_node_without_mom_gets_one_line(tmp_path: Path) -> None:
    found = list(
        mom.check_mom(
            tmp_path, SCRIPTS, MomConfig(), limit=290, kind="kvm", leads_to_us=lambda _: True
        )
    )
    assert [one.level for one in found] == [Level.OK]
    assert "not checked" in found[0].text


def test_a_mom_is_checked_whole(tmp_path: Path) -> None:
    (tmp_path / "mom_priv").mkdir()
    (tmp_path / "mom_priv" / "config").write_text("$job_starter_run_privileged true\n")
    found = mom.check_mom(
        tmp_path, SCRIPTS, MomConfig(), limit=290, kind="kvm", leads_to_us=lambda _: True
    )
    assert [one.subject for one in found] == [
        "mom_priv/prologue",
        "mom_priv/epilogue",
        "mom_priv/prologue.parallel",
        "mom_priv/epilogue.parallel",
        "job starter",
        "job starter",
        "prologue",
    ]


def test_images(tmp_path: Path) -> None:
    def damaged() -> list[str]:
        raise ImageError("names/x.json is damaged", hint="vmbatch image delete x")

    assert store.check_images(tmp_path, lambda: ["tiny"]).level is Level.OK
    assert "image build" in store.check_images(tmp_path, list).cure
    assert store.check_images(tmp_path, damaged).cure == "vmbatch image delete x"


def test_blobs(tmp_path: Path) -> None:
    folder = tmp_path / "blobs" / "sha256" / "ab"
    folder.mkdir(parents=True)
    for name, mode in (("good", 0o444), ("loose", 0o644)):
        (folder / name).touch()
        (folder / name).chmod(mode)
    faults = list(store.blob_faults(tmp_path, owner=os.getuid()))
    assert faults == [(folder / "loose", "has mode 644")]
    assert store.check_blobs(faults).cure.endswith(f"chmod 444 {folder / 'loose'}")
    strange = list(store.blob_faults(tmp_path, owner=os.getuid() + 1))
    assert [path.name for path, _ in strange] == ["good", "loose"]
    assert store.check_blobs([]).level is Level.OK


def test_leftovers() -> None:
    def unknown() -> list[str]:
        raise HypervisorError("libvirt does not answer")

    assert store.check_leftovers(list).level is Level.OK
    found = store.check_leftovers(lambda: ["guest of 1.vm", "port 42001"])
    assert (found.level, found.cure) == (Level.WARN, "vmbatch reap")
    assert "1 more" in found.text
    assert store.check_leftovers(unknown).level is Level.WARN
