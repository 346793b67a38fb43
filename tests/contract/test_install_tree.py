"""Installing into a scratch tree, and what the tree is like afterwards and after uninstalling."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from vmbatch.doctor.mom import look_at, mom_refuses
from vmbatch.errors import NodeError, SiteError
from vmbatch.install import installation
from vmbatch.install.acts import Act
from vmbatch.install.installation import (
    Wishes,
    check_trust,
    install,
    refuse_while_guests,
    uninstall,
)
from vmbatch.install.layout import Target

pytestmark = pytest.mark.contract

CHECKOUT = Path(__file__).resolve().parents[2]
NAMES = (
    "prologue",
    "prologue.parallel",
    "epilogue",
    "epilogue.parallel",
    "epilogue.precancel",
)
LINE = b"$job_starter /opt/vmbatch/scripts/remoteshell\n"
Tree = dict[str, tuple[object, ...]]


@pytest.fixture
def target(tmp_path: Path) -> Target:
    """Return a scratch tree: a node with a mom, and with scripts of the site's."""
    root = tmp_path / "root"
    mom_priv = root / "var" / "spool" / "torque" / "mom_priv"
    mom_priv.mkdir(parents=True)
    (mom_priv / "config").write_bytes(b"$pbsserver vm\n$prologalarm 60")
    (mom_priv / "prologue").write_text("#!/bin/sh\nexit 3\n")
    (mom_priv / "prologue").chmod(0o700)
    os.chown(mom_priv / "prologue", 0, 12)
    os.utime(mom_priv / "prologue", (1_000_000_000, 1_000_000_000))
    os.utime(mom_priv / "config", (1_100_000_000, 1_100_000_000))
    (mom_priv / "epilogue").symlink_to("/site/epilogue")
    (root / "etc").mkdir()
    return Target(root=root, prefix="/opt", torque_home="/var/spool/torque")


def mom_priv(target: Target) -> Path:
    return target.root / "var" / "spool" / "torque" / "mom_priv"


def snapshot(root: Path) -> Tree:
    """Return all that can be seen of a tree; times of files alone, directories' change by use."""
    tree: Tree = {}
    for path in sorted(root.rglob("*")):
        found = path.lstat()
        content: object = None
        if path.is_symlink():
            content = str(path.readlink())
        elif path.is_file():
            content = (path.read_bytes(), found.st_mtime_ns)
        name = str(path.relative_to(root))
        tree[name] = (found.st_mode, found.st_uid, found.st_gid, content)
    return tree


def without_times(tree: Tree) -> Tree:
    return {
        name: (*row[:3], row[3][0] if isinstance(row[3], tuple) else row[3])
        for name, row in tree.items()
    }


def fake_venv(directory: Path) -> None:
    """Stand for the environment: what pip makes is of no interest here, and takes seconds."""
    (directory / "bin").mkdir(parents=True, exist_ok=True)
    (directory / "bin" / "python").touch()
    cache = directory.parent / "vmbatch" / "__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "x.pyc").touch()


def put(target: Target, checkout: Path = CHECKOUT, *, job_starter: bool = True) -> None:
    install(checkout, target, Wishes(job_starter=job_starter), build_venv=fake_venv)


def test_uninstalling_leaves_the_tree_as_it_was(target: Target) -> None:
    before = snapshot(target.root)
    put(target)
    assert snapshot(target.root) != before
    assert uninstall(target) == []
    assert snapshot(target.root) == before


def test_installing_twice_is_installing_once(target: Target) -> None:
    before = snapshot(target.root)
    put(target)
    once = without_times(snapshot(target.root))
    put(target)
    assert without_times(snapshot(target.root)) == once
    assert uninstall(target) == []
    assert snapshot(target.root) == before


def test_scripts_of_the_sites_are_kept_as_they_are(target: Target) -> None:
    before = snapshot(mom_priv(target))
    put(target)
    put(target)
    after = snapshot(mom_priv(target))
    assert after["prologue.orig"] == before["prologue"]
    assert after["epilogue.orig"] == before["epilogue"]
    for name in NAMES:
        assert after[name][3] == f"/opt/vmbatch/scripts/{name}"
    assert sorted(after) == sorted([*NAMES, "config", "prologue.orig", "epilogue.orig"])


def test_a_mom_would_run_what_was_installed(target: Target) -> None:
    put(target)
    scripts = target.root / "opt" / "vmbatch" / "scripts"
    for name in NAMES:
        assert mom_refuses(look_at(scripts / name)) == "", name
    assert (scripts / "remoteshell").stat().st_mode & 0o005 == 0o005
    assert (scripts / "epilogue.precancel").stat().st_mode & 0o005 == 0o005


def test_everything_is_roots_and_nobody_else_can_write_it(target: Target) -> None:
    before = set(snapshot(target.root))
    put(target)
    not_ours = (".orig", ".venv", ".pyc", "__pycache__")
    for name, (mode, uid, gid, content) in snapshot(target.root).items():
        links = isinstance(content, str)
        if name in before or links or any(part in name for part in not_ours):
            continue
        assert (uid, gid) == (0, 0), name
        assert isinstance(mode, int)
        assert not mode & 0o022, name


def test_the_job_starter_is_added_and_removed_byte_for_byte(target: Target) -> None:
    config = mom_priv(target) / "config"
    before = config.read_bytes()
    put(target)
    assert config.read_bytes() == before + b"\n" + LINE
    config.write_bytes(config.read_bytes() + b"$usecp *:/home /home\n")
    uninstall(target)
    assert config.read_bytes() == before + b"\n$usecp *:/home /home\n"


def test_a_config_that_was_not_there_is_gone_again(target: Target) -> None:
    (mom_priv(target) / "config").unlink()
    before = snapshot(target.root)
    put(target)
    assert (mom_priv(target) / "config").read_bytes() == LINE
    uninstall(target)
    assert snapshot(target.root) == before


def test_without_the_wish_the_config_is_not_touched(target: Target) -> None:
    before = snapshot(target.root)["var/spool/torque/mom_priv/config"]
    put(target, job_starter=False)
    assert snapshot(target.root)["var/spool/torque/mom_priv/config"] == before


class Killed(BaseException):
    """Stands for the end of the process."""


def interrupt_at(monkeypatch: pytest.MonkeyPatch, count: int, *, after: bool) -> Callable[[], int]:
    """Let the installation die at its act number `count`, before or after doing it."""
    real = installation.perform
    done = 0

    def perform(act: Act, root: Path, owner: tuple[int, int]) -> None:
        nonlocal done
        done += 1
        if done == count and not after:
            raise Killed
        real(act, root, owner)
        if done == count:
            raise Killed

    monkeypatch.setattr(installation, "perform", perform)
    return lambda: done


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Return a checkout of a few files."""
    top = tmp_path / "small"
    for name in (
        *("setup.sh", "vmbatch/a.py", "vmbatch/install/b.py", "scripts/prologue", "man/x.1"),
        "contrib/profile.d/99-vmbatch.sh",
    ):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text("old\n")
    return top


@pytest.mark.parametrize("after", [False, True], ids=["before the act", "after the act"])
@pytest.mark.parametrize("finish", [False, True], ids=["taken back", "finished"])
def test_an_interrupted_installation(
    target: Target, small: Path, monkeypatch: pytest.MonkeyPatch, *, after: bool, finish: bool
) -> None:
    before = snapshot(target.root)
    with monkeypatch.context() as patch:
        acts = interrupt_at(patch, -1, after=False)
        put(target, small)
        total = acts()
    whole = without_times(snapshot(target.root))
    uninstall(target)
    assert total > 30
    # The first two make the directories that hold the manifest.
    for count in range(3, total + 1):
        with monkeypatch.context() as patch:
            interrupt_at(patch, count, after=after)
            with pytest.raises(Killed):
                put(target, small)
        if finish:
            put(target, small)
            assert without_times(snapshot(target.root)) == whole, count
        uninstall(target)
        assert snapshot(target.root) == before, count


def test_killed_between_keeping_a_script_and_linking_ours(target: Target) -> None:
    before = snapshot(target.root)
    put(target)
    prologue = mom_priv(target) / "prologue"
    prologue.unlink()
    os.link(mom_priv(target) / "prologue.orig", prologue)
    put(target)
    assert prologue.is_symlink()
    prologue.unlink()
    os.link(mom_priv(target) / "prologue.orig", prologue)
    uninstall(target)
    assert snapshot(target.root) == before


def test_an_interrupted_uninstallation_goes_on(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(target.root)
    put(target)
    real = installation.undo
    with monkeypatch.context() as patch:
        calls = iter(range(1000))

        def undo(made: installation.Made, root: Path, *, purge: bool = False) -> str:
            if next(calls) == 30:
                raise Killed
            return real(made, root, purge=purge)

        patch.setattr(installation, "undo", undo)
        with pytest.raises(Killed):
            uninstall(target)
    uninstall(target)
    assert snapshot(target.root) == before


def test_a_file_of_an_earlier_version_goes_with_the_next(target: Target, small: Path) -> None:
    before = snapshot(target.root)
    put(target, small)
    assert (target.root / "opt/vmbatch/vmbatch/a.py").exists()
    put(target)
    assert not (target.root / "opt/vmbatch/vmbatch/a.py").exists()
    assert (target.root / "opt/vmbatch/setup.sh").read_bytes() != b"old\n"
    uninstall(target)
    assert snapshot(target.root) == before


def test_what_the_administrator_changed_or_added_is_kept(target: Target) -> None:
    put(target)
    site = target.root / "etc/vmbatch/vmbatch.yaml"
    site.write_text("libvirt: {}\n")
    template = target.root / "opt/vmbatch/templates-vm/mine.xml"
    template.write_text("<domain/>")
    put(target)
    assert site.read_text() == "libvirt: {}\n"
    left = uninstall(target)
    assert (site.exists(), template.exists()) == (True, True)
    assert any(str(site) in line for line in left)
    assert any("templates-vm" in line for line in left)
    put(target)
    assert site.read_text() == "libvirt: {}\n"


def test_purge_removes_changed_files_too(target: Target) -> None:
    before = snapshot(target.root)
    put(target)
    (target.root / "etc/vmbatch/vmbatch.yaml").write_text("libvirt: {}\n")
    assert uninstall(target, purge=True) == []
    assert snapshot(target.root) == before


def test_a_script_that_the_site_put_in_our_links_place_stays(target: Target) -> None:
    put(target)
    for name in ("prologue", "prologue.parallel"):
        (mom_priv(target) / name).unlink()
        (mom_priv(target) / name).write_text("newer")
    left = uninstall(target)
    assert (mom_priv(target) / "prologue").read_text() == "newer"
    assert (mom_priv(target) / "prologue.parallel").read_text() == "newer"
    assert any("prologue.orig" in line for line in left)


def test_uninstalling_nothing_says_so(target: Target) -> None:
    with pytest.raises(SiteError, match="nothing of vmbatch is installed"):
        uninstall(target)


def test_a_refused_installation_changes_nothing(target: Target) -> None:
    (mom_priv(target) / "epilogue.parallel.orig").write_text("whose?")
    before = snapshot(target.root)
    with pytest.raises(SiteError):
        put(target)
    assert snapshot(target.root) == before


def test_guests_hinder_an_uninstallation(tmp_path: Path) -> None:
    refuse_while_guests(tmp_path, [Path("/state")])
    (tmp_path / "state" / "jobs" / "17.vm").mkdir(parents=True)
    with pytest.raises(NodeError, match=r"17\.vm"):
        refuse_while_guests(tmp_path, [Path("/state")])


@pytest.mark.parametrize(("mode", "owner"), [(0o777, 0), (0o775, 0), (0o755, 65534)])
def test_a_prefix_that_others_can_change_is_refused(target: Target, mode: int, owner: int) -> None:
    check_trust(target)
    (target.root / "opt").mkdir()
    (target.root / "opt").chmod(mode)
    os.chown(target.root / "opt", owner, 0)
    with pytest.raises(SiteError, match="others than root"):
        check_trust(target)


def setup(
    *arguments: str, script: Path = CHECKOUT / "setup.sh"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [script, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def test_the_whole_way_through_setup_sh(target: Target) -> None:
    before = snapshot(target.root)
    done = setup("--root", str(target.root), "--job-starter")
    assert done.returncode == 0, done.stderr
    assert "prologue.orig" in done.stderr
    top = target.root / "opt" / "vmbatch"
    told = subprocess.run(
        [top / "bin" / "vmbatch", "--version"], capture_output=True, text=True, check=False
    )
    assert told.stdout.startswith("vmbatch "), told.stderr
    where = "import vmbatch, libvirt; print(vmbatch.__file__)"
    found = subprocess.run(
        [top / ".venv" / "bin" / "python", "-I", "-c", where],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.strip() == str(top / "vmbatch" / "__init__.py"), found.stderr
    assert list((top / "vmbatch" / "__pycache__").glob("fastpath.*.pyc"))
    (target.root / "var/lib/vmbatch/jobs/17.vm").mkdir(parents=True)
    assert setup("-u", "--root", str(target.root)).returncode == 1
    done = setup("-u", "--root", str(target.root), "--force", "--purge", script=top / "setup.sh")
    assert done.returncode == 0, done.stderr
    after = snapshot(target.root)
    assert {name: row for name, row in after.items() if name != "var/lib"} == before


def test_setup_sh_from_an_installation_can_only_uninstall(target: Target) -> None:
    put(target)
    done = setup("--root", str(target.root), script=target.root / "opt/vmbatch/setup.sh")
    assert done.returncode == 1
    assert "hint:" in done.stderr


def test_an_ordinary_user_is_told_to_be_root() -> None:
    done = subprocess.run(
        ["/bin/sh", CHECKOUT / "setup.sh", "demo"],
        capture_output=True,
        text=True,
        user=65534,
        group=65534,
        extra_groups=[],
        check=False,
    )
    assert done.returncode == 1
    assert "sudo ./setup.sh demo" in done.stderr
