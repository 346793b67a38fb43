"""Whom the site file, and the files that it names, may belong to."""

import os
from pathlib import Path

import pytest

from vmbatch.config import load_site, site_file
from vmbatch.config.checks import named_files
from vmbatch.config.trust import faults
from vmbatch.errors import ConfigError

pytestmark = pytest.mark.unit

OURS = (0, os.getuid())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    directory = tmp_path / "etc"
    directory.mkdir(mode=0o755)
    file = directory / "site.yaml"
    file.write_text("{}")
    file.chmod(0o644)
    return file


def told(path: Path) -> list[str]:
    return list(faults(path, OURS))


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o444, 0o640])
def test_good_modes(path: Path, mode: int) -> None:
    path.chmod(mode)
    assert told(path) == []
    assert load_site(path).file == path


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o1666])
def test_writable_by_others(path: Path, mode: int) -> None:
    path.chmod(mode)
    assert told(path) == [f"{path} is writable by group or others"]
    with pytest.raises(ConfigError, match="is writable by group or others"):
        load_site(path)


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_in_a_directory_that_others_write_to(path: Path, mode: int) -> None:
    path.parent.chmod(mode)
    assert told(path) == [f"{path.parent} is writable by group or others"]
    with pytest.raises(ConfigError, match="is writable by group or others"):
        load_site(path)


def test_a_sticky_directory_protects_what_is_in_it(path: Path) -> None:
    path.parent.chmod(0o1777)
    assert told(path) == []


def test_of_another_owner(path: Path) -> None:
    other = os.getuid() + 1
    found = list(faults(path, (other,)))
    assert f"{path} belongs to uid {os.getuid()} instead of root" in found


def test_a_link_is_no_site_file(path: Path) -> None:
    link = path.with_name("link.yaml")
    link.symlink_to(path)
    with pytest.raises(ConfigError, match="it is a link"):
        load_site(link)


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_only_a_plain_file_is_a_site_file(path: Path, kind: str) -> None:
    other = path.with_name(kind)
    if kind == "directory":
        other.mkdir()
    else:
        os.mkfifo(other)
    with pytest.raises(ConfigError, match="not a plain file"):
        load_site(other)


def test_too_large(path: Path) -> None:
    path.write_text("#" * ((1 << 20) + 1))
    with pytest.raises(ConfigError, match="larger than"):
        load_site(path)


def test_links_are_followed_one_by_one(path: Path, tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    (open_to_all / "hop").symlink_to("../etc")
    good = tmp_path / "good"
    good.symlink_to("etc/../etc")
    through = tmp_path / "through"
    through.symlink_to(open_to_all / "hop")
    open_to_all.chmod(0o777)
    assert told(good / "site.yaml") == []
    assert told(through / "site.yaml") == [f"{open_to_all} is writable by group or others"]


def test_links_in_a_ring(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert told(tmp_path / "a") == [f"{tmp_path / 'a'}: too many links"]


def test_what_is_not_there(tmp_path: Path) -> None:
    assert told(tmp_path / "x" / "y") == [f"{tmp_path / 'x'}: No such file or directory"]


def test_the_variable_names_the_site_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMBATCH_CONFIG", str(path))
    assert site_file() == path
    assert load_site().file == path
    monkeypatch.delenv("VMBATCH_CONFIG")
    assert site_file() == Path("/etc/vmbatch/vmbatch.yaml")


@pytest.mark.parametrize("value", ["site.yaml", "/etc/../site.yaml", "../x"])
def test_the_variable_must_be_absolute(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMBATCH_CONFIG", value)
    with pytest.raises(ConfigError, match="not an absolute path"):
        load_site()


def test_what_the_variable_names_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMBATCH_CONFIG", str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigError, match="which VMBATCH_CONFIG names"):
        load_site()


def test_named_files(path: Path) -> None:
    template, script = path.with_name("a.xml"), path.with_name("prolog.sh")
    template.write_text("<domain/>")
    template.chmod(0o644)
    script.write_text("exit 0")
    script.chmod(0o777)
    gone = path.with_name("gone.sh")
    profile = f"{{template: {template}, prolog: {script}, epilog: {gone}}}"
    path.write_text(f"profiles: {{default: {profile}}}")
    assert list(named_files(load_site(path), OURS)) == [
        ("profiles.default.prolog", f"{script} is writable by group or others"),
        ("profiles.default.epilog", f"{gone}: No such file or directory"),
    ]
    path.write_text(f"profiles: {{default: {{template: {template}, prolog: {path.parent}}}}}")
    assert list(named_files(load_site(path), OURS)) == [
        ("profiles.default.prolog", f"{path.parent} is not a file")
    ]
