from __future__ import annotations

import os
from pathlib import Path

import pytest

from vmbatch.errors import SiteError
from vmbatch.install import layout, manifest
from vmbatch.install.acts import Act, AddedText, Directory, Hook, PutFile, PutLink
from vmbatch.install.hooks import job_starter
from vmbatch.install.installation import Wishes, plan
from vmbatch.install.layout import Target
from vmbatch.install.manifest import MadeFile

pytestmark = pytest.mark.unit


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout of a few files."""
    top = tmp_path / "checkout"
    for name, mode in (
        ("setup.sh", 0o755),
        ("vmbatch/__init__.py", 0o644),
        ("vmbatch/__pycache__/__init__.cpython-311.pyc", 0o644),
        ("vmbatch/cli/main.py", 0o664),
        ("scripts/prologue", 0o775),
        ("scripts/remoteshell", 0o755),
        ("docs/.draft.md", 0o644),
        ("docs/admin.md", 0o600),
        ("man/vmbatch.1", 0o644),
        ("tests/unit/test_x.py", 0o644),
        ("contrib/profile.d/99-vmbatch.sh", 0o644),
    ):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("VTORQUE_DIR='@VMBATCH@'\n" if "profile.d" in name else "x\n")
        path.chmod(mode)
    return top


@pytest.fixture
def target(tmp_path: Path) -> Target:
    """Return a scratch tree with a mom."""
    root = tmp_path / "root"
    (root / "torque" / "mom_priv").mkdir(parents=True)
    return Target(root=root, prefix="/opt", torque_home="/torque")


def put(checkout: Path, target: Target) -> dict[str, PutFile]:
    found = layout.files(checkout, target)
    return {act.path: act for act in found if isinstance(act, PutFile)}


def test_what_goes_where(checkout: Path, target: Target) -> None:
    assert sorted(put(checkout, target)) == [
        "/etc/profile.d/99-vmbatch.sh",
        "/opt/vmbatch/bin/vmbatch",
        "/opt/vmbatch/contrib/profile.d/99-vmbatch.sh",
        "/opt/vmbatch/docs/admin.md",
        "/opt/vmbatch/scripts/prologue",
        "/opt/vmbatch/scripts/remoteshell",
        "/opt/vmbatch/setup.sh",
        "/opt/vmbatch/share/man/man1/vmbatch.1",
        "/opt/vmbatch/vmbatch/__init__.py",
        "/opt/vmbatch/vmbatch/cli/main.py",
    ]


def test_modes_do_not_depend_on_the_umask_of_the_clone(checkout: Path, target: Target) -> None:
    found = put(checkout, target)
    assert found["/opt/vmbatch/scripts/prologue"].mode == 0o500
    assert found["/opt/vmbatch/scripts/remoteshell"].mode == 0o555
    assert found["/opt/vmbatch/vmbatch/cli/main.py"].mode == 0o444
    assert found["/opt/vmbatch/docs/admin.md"].mode == 0o444


def test_the_profile_names_the_prefix(checkout: Path, target: Target) -> None:
    text = put(checkout, target)["/etc/profile.d/99-vmbatch.sh"].data
    assert text == b"VTORQUE_DIR='/opt/vmbatch'\n"


def test_a_link_in_the_checkout_is_refused(checkout: Path, target: Target) -> None:
    (checkout / "docs" / "secret.md").symlink_to("/etc/shadow")
    with pytest.raises(SiteError, match=r"secret\.md is not a plain file"):
        list(layout.files(checkout, target))


def test_the_site_file_names_another_torque_home(target: Target) -> None:
    assert b"home: /torque" in layout.site_file(target).data
    usual = Target(root=target.root, prefix="/opt", torque_home="/var/spool/torque")
    assert b"home:" not in layout.site_file(usual).data


def acts_of(checkout: Path, target: Target, made: tuple[manifest.Made, ...] = ()) -> list[Act]:
    return list(plan(checkout, target, made, Wishes(job_starter=True)))


def test_hooks_come_last_and_directories_first(checkout: Path, target: Target) -> None:
    kinds = [type(act) for act in acts_of(checkout, target)]
    last_directory = max(i for i, kind in enumerate(kinds) if kind is Directory)
    first_hook = kinds.index(Hook)
    assert all(kind is Directory for kind in kinds[: last_directory + 1])
    assert set(kinds[first_hook:]) == {Hook, AddedText}


def test_planning_changes_nothing(checkout: Path, target: Target) -> None:
    before = sorted(target.root.rglob("*"))
    acts_of(checkout, target)
    assert sorted(target.root.rglob("*")) == before


def test_without_a_mom_nothing_is_linked(checkout: Path, target: Target) -> None:
    elsewhere = Target(root=target.root, prefix="/opt", torque_home="/nowhere")
    assert not [act for act in plan(checkout, elsewhere, (), Wishes()) if isinstance(act, Hook)]


def mom_priv(target: Target) -> Path:
    return target.root / "torque" / "mom_priv"


def asides(acts: list[Act]) -> list[str]:
    return [act.path for act in acts if isinstance(act, Hook) and act.aside]


def test_a_script_of_the_sites_is_put_aside(checkout: Path, target: Target) -> None:
    (mom_priv(target) / "epilogue").write_text("site")
    assert asides(acts_of(checkout, target)) == ["/torque/mom_priv/epilogue"]


def test_our_own_link_is_never_put_aside(checkout: Path, target: Target) -> None:
    (mom_priv(target) / "prologue").symlink_to("/opt/vmbatch/scripts/prologue")
    (mom_priv(target) / "prologue.orig").write_text("site")
    assert asides(acts_of(checkout, target)) == []


def test_a_link_to_another_copy_of_vmbatch_is_refused(checkout: Path, target: Target) -> None:
    (target.root / "clone" / "vmbatch" / "install").mkdir(parents=True)
    (mom_priv(target) / "prologue").symlink_to("/clone/scripts/prologue")
    with pytest.raises(SiteError, match="another copy of vmbatch"):
        acts_of(checkout, target)


@pytest.mark.parametrize("also", [False, True])
def test_an_orig_that_is_not_of_ours_is_refused(
    checkout: Path, target: Target, *, also: bool
) -> None:
    (mom_priv(target) / "prologue.orig").write_text("old")
    if also:
        (mom_priv(target) / "prologue").write_text("new")
    with pytest.raises(SiteError, match=r"prologue\.orig is there already"):
        acts_of(checkout, target)


def test_a_new_script_beside_a_recorded_orig_is_refused(checkout: Path, target: Target) -> None:
    (mom_priv(target) / "prologue.orig").write_text("old")
    (mom_priv(target) / "prologue").write_text("new")
    path = "/torque/mom_priv/prologue"
    made = Hook(path=path, target="/opt/vmbatch/scripts/prologue", aside=True)
    with pytest.raises(SiteError, match="both"):
        acts_of(checkout, target, (made,))


def test_a_strange_file_in_the_prefix_is_refused(checkout: Path, target: Target) -> None:
    top = target.root / "opt" / "vmbatch"
    top.mkdir(parents=True)
    (top / "setup.sh").write_text("a clone")
    with pytest.raises(SiteError, match="did not put it there"):
        acts_of(checkout, target)


def test_a_site_file_of_the_administrators_is_left_alone(checkout: Path, target: Target) -> None:
    file = target.root / "etc" / "vmbatch" / "vmbatch.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("libvirt: {}\n")
    assert layout.SITE_FILE not in {act.path for act in acts_of(checkout, target)}


@pytest.mark.parametrize(
    ("before", "added"),
    [
        ("", "$job_starter /opt/vmbatch/scripts/remoteshell\n"),
        ("$pbsserver vm\n", "$job_starter /opt/vmbatch/scripts/remoteshell\n"),
        ("$pbsserver vm", "\n$job_starter /opt/vmbatch/scripts/remoteshell\n"),
    ],
)
def test_the_job_starter_is_a_line_of_its_own(target: Target, before: str, added: str) -> None:
    (mom_priv(target) / "config").write_text(before)
    act = job_starter(target, ())
    assert act is not None
    assert (act.text, act.created, act.size) == (added, False, len(before))


def test_the_job_starter_is_added_once(target: Target) -> None:
    config = mom_priv(target) / "config"
    config.write_text("  $job_starter \t/opt/vmbatch/scripts/remoteshell\n")
    assert job_starter(target, ()) is None


def test_another_job_starter_is_refused(target: Target) -> None:
    (mom_priv(target) / "config").write_text("$job_starter /site/starter\n")
    with pytest.raises(SiteError, match="/site/starter") as caught:
        job_starter(target, ())
    assert 'exec /opt/vmbatch/scripts/remoteshell "$@"' in caught.value.hint


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    made: tuple[manifest.Made, ...] = (
        Directory(path="/opt"),
        MadeFile(path="/opt/a", sha256="00", sites=True),
        PutLink(path="/opt/b", target="a"),
        Hook(path="/m/prologue", target="/opt/p", aside=True),
        AddedText(path="/m/config", text="x\n", created=False, mtime=7, size=3),
    )
    file = tmp_path / "manifest"
    manifest.write(file, made, owner=(os.getuid(), os.getgid()))
    assert manifest.read(file) == made
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text", ["{", "{}7", '[{"kind": "sky", "path": "/"}]', '[{"path": "/"}]', "[1]"]
)
def test_a_damaged_manifest_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest").write_text(text)
    with pytest.raises(SiteError, match="damaged"):
        manifest.read(tmp_path / "manifest")


def test_merging_keeps_how_it_was_before_the_first_installation() -> None:
    first = AddedText(path="/c", text="x", created=True, mtime=1, size=0)
    again = AddedText(path="/c", text="x", created=False, mtime=2, size=9)
    old = MadeFile(path="/f", sha256="old", sites=False)
    new = MadeFile(path="/f", sha256="new", sites=False)
    assert manifest.merge([first, old], [again, new]) == (first, new)
