from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from vmbatch.shares.choose import Share
from vmbatch.shares.smbconf import render_smb_conf

pytestmark = pytest.mark.unit


def parsed(*shares: Share) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parser.read_string(render_smb_conf(Path("/j/smb"), Path("/j/smb/var"), shares, 42599))
    return parser


HOME = Share(tag="home", source="/home/alice", path="/home/alice")
ODD = Share(tag="work", source="/s/%u\\", path="/s/%u\\")


def test_it_listens_on_loopback_alone() -> None:
    settings = parsed(HOME)["global"]
    assert settings["interfaces"] == settings["hosts allow"] == "127.0.0.1"
    assert settings["bind interfaces only"] == "yes"
    assert settings["smb ports"] == "42599"
    assert settings["disable netbios"] == "yes"


def test_nobody_gets_in_without_the_password() -> None:
    conf = parsed(HOME, ODD)
    assert conf["global"]["map to guest"] == "never"
    assert conf["global"]["ntlm auth"] == "ntlmv2-only"
    for name in conf.sections():
        assert not {"guest ok", "public", "guest only", "force user"} & set(conf[name])


def test_each_share_is_a_link_of_roots_so_that_no_path_is_expanded() -> None:
    conf = parsed(HOME, ODD)
    assert conf.sections() == ["global", "home", "work"]
    assert conf["home"]["path"] == "/j/smb/home"
    assert conf["work"]["path"] == "/j/smb/work"
    assert "%u" not in render_smb_conf(Path("/j"), Path("/j/v"), [ODD], 1)


def test_all_that_the_server_writes_is_in_the_owners_directory() -> None:
    settings = parsed(HOME)["global"]
    places = [value for key, value in settings.items() if key.endswith((" dir", " directory"))]
    assert len(places) == 6
    assert all(place.startswith("/j/smb/var") for place in places)
    assert settings["log file"].startswith("/j/smb/var/")
    assert settings["passdb backend"] == "smbpasswd:/j/smb/var/smbpasswd"
