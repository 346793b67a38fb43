from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmbatch.errors import ConfigError, ImageError
from vmbatch.job import Owner
from vmbatch.shares.choose import Share, wanted_shares, ways, why_unfit

pytestmark = pytest.mark.unit


def owner(home: str = "/home/alice") -> Owner:
    return Owner(
        name="alice",
        uid=4001,
        gid=4001,
        group="alice",
        groups=(("alice", 4001),),
        home=home,
        shell="/bin/sh",
    )


def paths(
    workdir: str, home: str = "/home/alice", *, give_home: bool = True, give_work: bool = True
) -> list[str]:
    shares = wanted_shares(owner(home), workdir, home=give_home, workdir_wanted=give_work)
    return [f"{share.tag}:{share.path}" for share in shares]


def test_home_and_workdir_are_shared_under_their_own_names() -> None:
    assert wanted_shares(owner(), "/scratch/r 1", home=True, workdir_wanted=True) == (
        Share(tag="home", source="/home/alice", path="/home/alice"),
        Share(tag="work", source="/scratch/r 1", path="/scratch/r 1"),
    )


@pytest.mark.parametrize("workdir", ["/home/alice", "/home/alice/", "/home//alice/./run", ""])
def test_a_workdir_in_home_needs_no_share_of_its_own(workdir: str) -> None:
    assert paths(workdir) == ["home:/home/alice"]


def test_a_name_that_only_begins_like_home_is_not_in_home() -> None:
    assert paths("/home/alice2") == ["home:/home/alice", "work:/home/alice2"]


def test_an_outer_directory_comes_before_one_in_it() -> None:
    assert paths("/data/x", home="/data/x/alice") == ["work:/data/x", "home:/data/x/alice"]


def test_each_can_be_switched_off() -> None:
    assert paths("/scratch/a", give_home=False) == ["work:/scratch/a"]
    assert paths("/scratch/a", give_work=False) == ["home:/home/alice"]
    assert paths("/home/alice/run", give_home=False) == ["work:/home/alice/run"]


@pytest.mark.parametrize(
    "workdir",
    [
        *("/", "//", "/etc", "/etc/ssh", "//etc", "/usr/share/x", "/bin", "/lib64/x", "/proc/1"),
        *("/sys", "/dev/shm", "/run/user/0", "/boot", "/sbin", "/root", "/root/x", "/home", "/tmp"),
        *("/var", "/var/lib/vmbatch", "/var/spool/torque", "/var/tmp", "/opt", "/mnt", "/srv"),
        *("relative", "./x", "~", "/scratch/../etc", "/scratch/..", "/scratch/a\nb", "/s/\x1b[m"),
        *("/s/\udcff", "/s/\u2028", "/" + "x" * 1001, "/" + "\u00e4" * 600),
    ],
)
def test_what_belongs_to_the_system_or_is_no_plain_path_is_never_shared(workdir: str) -> None:
    assert paths(workdir) == ["home:/home/alice"]
    assert why_unfit(workdir, owner())


@pytest.mark.parametrize("workdir", ["/tmp/x", "/var/tmp/x", "/scratch", "/srv/data", "/mnt/a,b%c"])
def test_other_directories_are_shared(workdir: str) -> None:
    assert f"work:{workdir}" in paths(workdir)
    assert not why_unfit(workdir, owner())


@pytest.mark.parametrize("home", ["/", "/usr/games", "/bin", "/nonexistent/..", "", "/tmp"])
def test_a_home_of_the_system_is_left_out(home: str) -> None:
    assert paths("/scratch/a", home=home) == ["work:/scratch/a"]


def test_a_home_in_var_is_a_home() -> None:
    assert paths("/var/lib/db/run", home="/var/lib/db") == ["home:/var/lib/db"]
    assert paths("/var/lib/dbx", home="/var/lib/db") == ["home:/var/lib/db"]


def test_a_home_that_is_the_root_makes_nothing_else_fit() -> None:
    assert paths("/var/lib/x", home="/") == []


@given(st.text(max_size=40).map(lambda text: "/" + text))
def test_what_is_shared_is_always_a_plain_absolute_path(workdir: str) -> None:
    for share in wanted_shares(owner(), workdir, home=False, workdir_wanted=True):
        assert share.path.startswith("/")
        assert not share.path.startswith("//")
        assert share.path.isprintable()
        assert ".." not in share.path.split("/")
        assert share.path.split("/")[1] not in ("", "etc", "usr", "proc", "sys", "dev", "run")


@pytest.mark.parametrize(
    ("mode", "known", "expected"),
    [
        ("auto", (), ("9p", "smb")),
        ("auto", ("smb", "9p"), ("9p", "smb")),
        ("auto", ("smb",), ("smb",)),
        ("auto", ("9p",), ("9p",)),
        ("9p", (), ("9p",)),
        ("smb", ("9p", "smb"), ("smb",)),
        ("off", (), ()),
        ("off", ("none",), ()),
    ],
)
def test_ways(mode: str, known: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert ways(mode, known) == expected


@pytest.mark.parametrize(("mode", "known"), [("9p", ("smb",)), ("auto", ("none",))])
def test_an_image_without_any_way_is_refused(mode: str, known: tuple[str, ...]) -> None:
    with pytest.raises(ImageError, match=known[0]):
        ways(mode, known)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="nfs"):
        ways("nfs", ())
