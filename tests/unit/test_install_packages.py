from __future__ import annotations

import os
from pathlib import Path

import pytest

from vmbatch.install import packages
from vmbatch.install.daemons import answers, closed_passages, open_passages
from vmbatch.install.packages import Purpose, absent, no_services, wanted
from vmbatch.install.reach import MEETING_POINT, first_closed, mend_scripts, python_of
from vmbatch.install.venv import is_current, requirements, stamp_of

pytestmark = pytest.mark.unit

PROJECT = {
    "project": {"dependencies": ["lxml>=5"], "optional-dependencies": {"test": ["pytest>=8"]}},
    "tool": {"ruff": {"line-length": 100}},
}


def test_no_package_is_listed_twice() -> None:
    names = [name for purpose in Purpose for name in packages.PACKAGES[purpose]]
    assert len(names) == len(set(names))
    assert list(wanted(tuple(Purpose))) == sorted(names)


def test_absent_packages() -> None:
    status = "gcc installed\nzstd config-files\nsamba not-installed\n"
    assert absent(["gcc", "zstd", "samba", "cpio"], status) == ("zstd", "samba", "cpio")


def test_services_are_held_back_for_the_time_of_an_installation(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with no_services(policy):
        assert policy.stat().st_mode & 0o111
        assert policy.read_text().endswith("exit 101\n")
    assert not policy.exists()


def test_a_policy_of_the_sites_is_left_alone(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 0\n")
    with no_services(policy):
        assert "exit 0" in policy.read_text()
    assert "exit 0" in policy.read_text()


def test_a_policy_left_by_a_killed_run_is_removed(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with no_services(policy):
        left = policy.read_text()
    policy.write_text(left)
    with no_services(policy):
        pass
    assert not policy.exists()


def test_the_stamp_follows_dependencies_and_not_the_settings_of_linters() -> None:
    here = Path("/a/.venv")
    stamp = stamp_of(PROJECT, ["test"], here)
    assert stamp == stamp_of({**PROJECT, "tool": {}}, ["test"], here)
    assert stamp != stamp_of({**PROJECT, "project": {"dependencies": []}}, ["test"], here)
    assert stamp != stamp_of(PROJECT, [], here)
    assert stamp != stamp_of(PROJECT, ["test"], Path("/b/.venv"))


def test_an_environment_is_current_when_it_has_the_stamp(tmp_path: Path) -> None:
    assert not is_current(tmp_path, "abc")
    (tmp_path / "vmbatch-stamp").write_text("xyz\nabc\n")
    assert is_current(tmp_path, "abc")
    assert not is_current(tmp_path, "ab")


def test_requirements() -> None:
    assert requirements(PROJECT) == ["lxml>=5"]
    assert requirements(PROJECT, ["test"]) == ["lxml>=5", "pytest>=8"]


def test_passages_are_opened_for_others_to_pass_and_no_more(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    missing = tmp_path / "channel"
    assert closed_passages((tmp_path, missing)) == ((tmp_path, 0o750),)
    open_passages((tmp_path, missing))
    assert tmp_path.stat().st_mode & 0o777 == 0o751
    assert closed_passages((tmp_path, missing)) == ()


def test_nobody_answers_where_nobody_listens(tmp_path: Path) -> None:
    assert not answers(tmp_path / "libvirt-sock")


def test_the_first_closed_step_is_found(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "script"
    file.parent.mkdir(parents=True)
    file.touch(0o644)
    for directory in (tmp_path, file.parent.parent, file.parent):
        directory.chmod(0o755)
    closed_above = first_closed(tmp_path)
    assert first_closed(file) == closed_above
    file.parent.chmod(0o700)
    assert first_closed(file) == (closed_above or file.parent)


def test_a_file_that_others_cannot_read_is_closed() -> None:
    assert first_closed(Path("/etc/shadow")) == Path("/etc/shadow")
    assert first_closed(Path("/etc/passwd")) is None


def test_a_checkout_that_users_reach_is_used_as_it_stands() -> None:
    assert python_of(Path("/usr")) == ["/usr/.venv/bin/python"]


def test_a_checkout_that_users_cannot_reach_is_seen_elsewhere() -> None:
    argv = python_of(Path("/etc/shadow"), enter=True)
    assert argv[0] == "/usr/bin/unshare"
    assert argv[-2:] == ["/etc/shadow", str(MEETING_POINT)]


def test_scripts_of_a_clone_with_a_loose_umask_are_mended(tmp_path: Path) -> None:
    script = tmp_path / "prologue"
    script.touch()
    script.chmod(0o775)
    assert mend_scripts(tmp_path, owner=os.getuid()) == ""
    assert script.stat().st_mode & 0o777 == 0o755


def test_scripts_of_another_user_are_named(tmp_path: Path) -> None:
    script = tmp_path / "prologue"
    script.touch()
    script.chmod(0o775)
    assert f"{script} belongs to uid" in mend_scripts(tmp_path, owner=os.getuid() + 1)
    assert script.stat().st_mode & 0o777 == 0o775
