from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from vmbatch.context import conf

pytestmark = pytest.mark.unit

SCRIPTS_VM = Path(__file__).parents[2] / "scripts-vm"
USERS = (
    "root:x:0:0:root:/root:/bin/bash\n"
    "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
    "debian:x:1000:1000:Debian:/home/debian:/bin/bash\n"
)
GROUP = "root:x:0:\nadm:x:4:syslog,debian\nrender:x:105:\ndebian:x:1000:\n"
LOGIN = "vmbatch-login:*:1000:1000:alice:/run/vmbatch/login:/bin/sh\n"


@dataclass
class Guest:
    root: Path
    disc: Path
    shell: list[str]

    def has(self, name: str, text: str) -> None:
        (self.root / "etc" / name).write_text(text)

    def told(self, groups: str = "alice:1000", **values: str) -> subprocess.CompletedProcess[str]:
        table = {
            "VB_LOGIN": "vmbatch-login",
            "VB_USER": "alice",
            "VB_UID": "1000",
            "VB_GROUP": "alice",
            "VB_GID": "1000",
            "VB_GROUPS": groups,
            "VB_HOME": "/home/alice",
            "VB_SHELL": "/bin/zsh",
            **values,
        }
        (self.disc / "guest.conf").write_bytes(conf.assignments(table))
        return subprocess.run(
            [*self.shell, self.disc / "setup.sh", "accounts"],
            env={**os.environ, "VMBATCH_ROOT": str(self.root)},
            capture_output=True,
            text=True,
            check=False,
        )

    def etc(self, name: str) -> str:
        return (self.root / "etc" / name).read_text()


@pytest.fixture(params=[["sh"], ["bash", "--posix"], ["busybox", "sh"]], ids=lambda words: words[0])
def guest(request: pytest.FixtureRequest, tmp_path: Path) -> Guest:
    disc = tmp_path / "disc" / "vmbatch"
    disc.mkdir(parents=True)
    for script in SCRIPTS_VM.glob("*.sh"):
        (disc / script.name).write_bytes(script.read_bytes())
    root = tmp_path / "root"
    for shell in ("zsh", "sh"):
        (root / "bin").mkdir(parents=True, exist_ok=True)
        (root / "bin" / shell).touch(mode=0o755)
    (root / "etc").mkdir()
    made = Guest(root, disc, request.param)
    made.has("passwd", USERS)
    made.has("group", GROUP)
    return made


def test_the_owner_wins_over_a_stock_user_of_the_same_uid(guest: Guest) -> None:
    assert guest.told().returncode == 0
    root, daemon, debian = USERS.splitlines(keepends=True)
    owner = "alice:*:1000:1000:alice:/home/alice:/bin/zsh\n"
    assert guest.etc("passwd") == root + owner + LOGIN + daemon + debian


def test_a_stock_user_of_the_same_name_is_replaced_with_its_rights(guest: Guest) -> None:
    guest.told("debian:5000", VB_USER="debian", VB_UID="5000", VB_GID="5000")
    names = [line.split(":")[0] for line in guest.etc("passwd").splitlines()]
    assert names == ["root", "debian", "vmbatch-login", "daemon"]
    assert "debian:*:5000:5000:debian:/home/alice:/bin/zsh\n" in guest.etc("passwd")
    assert "adm:x:4:syslog\n" in guest.etc("group")


def test_groups_have_the_host_s_numbers_and_names(guest: Guest) -> None:
    guest.told("alice:1000 hpc:2000 domain%20users:2001")
    assert guest.etc("group") == (
        "root:x:0:\nadm:x:4:syslog,debian\nrender:x:105:\nalice:x:1000:\ndebian:x:1000:\n"
        "hpc:x:2000:alice,vmbatch-login\ndomain users:x:2001:alice,vmbatch-login\n"
    )


def test_a_name_that_stands_for_another_gid_gets_a_new_one(guest: Guest) -> None:
    guest.told("alice:1000 render:107")
    assert "render:x:105:\n" in guest.etc("group")
    assert "render-107:x:107:alice,vmbatch-login\n" in guest.etc("group")


def test_a_gid_whose_name_is_taken_keeps_the_guest_s_name(guest: Guest) -> None:
    guest.told("alice:1000 render:4")
    assert "adm:x:4:syslog,debian,alice,vmbatch-login\n" in guest.etc("group")
    assert guest.etc("group").count("render") == 1


def test_a_group_that_is_the_same_gets_its_member(guest: Guest) -> None:
    guest.told("alice:1000 adm:4")
    assert "adm:x:4:syslog,debian,alice,vmbatch-login\n" in guest.etc("group")


def test_membership_in_the_image_is_not_inherited(guest: Guest) -> None:
    guest.has("group", "sudo:x:27:alice,bob,alice\nwheel:x:10:alice\nalicex:x:9:alicex\n")
    guest.told("alice:1000")
    assert guest.etc("group") == "sudo:x:27:bob\nwheel:x:10:\nalicex:x:9:alicex\nalice:x:1000:\n"


def test_a_second_run_changes_nothing(guest: Guest) -> None:
    groups = "alice:1000 hpc:2000 render:107 adm:4"
    guest.told(groups)
    first = guest.etc("passwd"), guest.etc("group")
    guest.told(groups)
    assert (guest.etc("passwd"), guest.etc("group")) == first


def test_a_password_of_the_image_is_forgotten(guest: Guest) -> None:
    guest.has("shadow", "root:*:1::::::\nalice:$6$known:1::::::\nbob:!:1::::::\n")
    guest.told()
    assert guest.etc("shadow") == "root:*:1::::::\nbob:!:1::::::\n"


@pytest.mark.parametrize(("wanted", "got"), [("/bin/zsh", "/bin/zsh"), ("/bin/csh", "/bin/sh")])
def test_a_shell_that_is_not_there_falls_back(guest: Guest, wanted: str, got: str) -> None:
    guest.told(VB_SHELL=wanted)
    assert f"alice:*:1000:1000:alice:/home/alice:{got}\n" in guest.etc("passwd")


def test_the_login_s_shell_is_allowed_once(guest: Guest) -> None:
    guest.has("shells", "/bin/zsh\n")
    guest.told()
    guest.told()
    assert guest.etc("shells") == "/bin/zsh\n/bin/sh\n"


def test_files_without_a_last_line_end_or_not_there_at_all(guest: Guest) -> None:
    guest.has("passwd", USERS.rstrip("\n"))
    (guest.root / "etc" / "group").unlink()
    assert guest.told().returncode == 0
    assert guest.etc("passwd").endswith("debian:x:1000:1000:Debian:/home/debian:/bin/bash\n")
    assert guest.etc("group") == "root:x:0:\nalice:x:1000:\n"


def test_a_failure_names_step_and_cause(guest: Guest) -> None:
    (guest.root / "etc" / "passwd").unlink()
    (guest.root / "etc" / "passwd").mkdir()
    done = guest.told()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "vmbatch: user: can't write /etc/passwd"
