from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from vmbatch.context.bundle import (
    LOGIN,
    SCRIPTS,
    DiscFile,
    GuestContext,
    Mount,
    SmbLogin,
    bundle,
    read_guest_scripts,
)
from vmbatch.context.keys import make_key
from vmbatch.errors import NodeError, SiteError
from vmbatch.job import Owner

pytestmark = pytest.mark.unit

SCRIPTS_VM = Path(__file__).parents[2] / "scripts-vm"
TEXTS = {name: f"this is {name}".encode() for name in SCRIPTS}
HOST_KEY = make_key("host")
ALICE = Owner(
    name="alice",
    uid=1000,
    gid=1000,
    group="alice",
    groups=(("domain users", 2001), ("alice", 1000), ("hpc", 2000)),
    home="/home/alice",
    shell="/bin/bash",
)
CONTEXT = GuestContext(
    job_id="186[0].vm",
    hostname="vm-186-0",
    owner=ALICE,
    script_dir="/var/spool/torque/mom_priv/jobs",
    mounts=(
        Mount(kinds=("9p", "smb"), tag="work", path="/home/alice/run 1"),
        Mount(kinds=("9p",), tag="home", path="/home/alice"),
    ),
    smb=SmbLogin(port=42501, user="alice", password="s3cret"),  # noqa: S106
    host_key=HOST_KEY.private,
    host_key_public=HOST_KEY.public,
    authorized_key="ssh-ed25519 AAAA job",
    prolog=None,
    epilog=None,
)


def files(context: GuestContext = CONTEXT) -> dict[str, DiscFile]:
    return {file.path: file for file in bundle(context, TEXTS)}


def test_guest_conf_is_as_documented() -> None:
    assert files()["vmbatch/guest.conf"].data.decode() == (
        "VB_JOB='186[0].vm'\n"
        "VB_HOSTNAME=vm-186-0\n"
        f"VB_LOGIN={LOGIN}\n"
        "VB_USER=alice\n"
        "VB_UID=1000\n"
        "VB_GROUP=alice\n"
        "VB_GID=1000\n"
        "VB_GROUPS='alice:1000 domain%20users:2001 hpc:2000'\n"
        "VB_HOME=/home/alice\n"
        "VB_SHELL=/bin/bash\n"
        "VB_SCRIPT_DIR=/var/spool/torque/mom_priv/jobs\n"
        "VB_SHARES='9p:home:/home/alice 9p,smb:work:/home/alice/run%201'\n"
        f"VB_HOSTKEY={HOST_KEY.fingerprint}\n"
        "VB_SMB_PORT=42501\n"
        "VB_SMB_USER=alice\n"
        "VB_SMB_PASSWORD=s3cret\n"
    )


def test_what_is_not_there_is_told_as_empty() -> None:
    context = replace(CONTEXT, script_dir=None, mounts=(), smb=None)
    text = files(context)["vmbatch/guest.conf"].data.decode()
    assert "VB_SCRIPT_DIR=''\n" in text
    assert "VB_SHARES=''\n" in text
    assert "SMB" not in text


def test_secrets_are_for_root_alone() -> None:
    secret = {path for path, file in files().items() if file.mode == 0o400}
    assert secret == {
        "vmbatch/guest.conf",
        "vmbatch/ssh_host_ed25519_key",
        "vmbatch/dropbear_ed25519_host_key",
    }
    for file in files().values():
        assert file.mode in (0o400, 0o444, 0o555)
        assert b"PRIVATE" not in file.data or file.mode == 0o400


def test_every_script_is_beside_the_one_that_starts_it() -> None:
    for name, data in TEXTS.items():
        assert files()[f"vmbatch/{name}"] == DiscFile(path=f"vmbatch/{name}", data=data, mode=0o555)


def test_prolog_and_epilog_are_there_only_where_given() -> None:
    assert not {"prolog.sh", "epilog.sh"} & files().keys()
    both = files(replace(CONTEXT, prolog=b"#!/bin/sh\n", epilog=b""))
    assert both["prolog.sh"] == DiscFile(path="prolog.sh", data=b"#!/bin/sh\n", mode=0o555)
    assert both["epilog.sh"].data == b""


def test_it_is_a_cloud_init_seed() -> None:
    meta = yaml.safe_load(files()["meta-data"].data)
    assert meta == {"instance-id": "186[0].vm", "local-hostname": "vm-186-0"}
    text = files()["user-data"].data
    assert text.startswith(b"#cloud-config\n")
    user = yaml.safe_load(text)
    assert user == json.loads(text.partition(b"\n")[2])
    assert user["users"] == [{"name": "root"}]
    assert user["ssh_deletekeys"] is False
    assert user["ssh_pwauth"] is False
    assert user["bootcmd"] == user["runcmd"]
    assert not {"password", "chpasswd", "ssh_authorized_keys"} & user.keys()


def test_the_start_command_mounts_the_disc_and_runs_the_setup(tmp_path: Path) -> None:
    user = yaml.safe_load(files()["user-data"].data)
    [[shell, flag, script]] = user["bootcmd"]
    programs = tmp_path / "bin"
    programs.mkdir()
    disc = tmp_path / "disc"
    fake = (
        'case "$*" in *by-label*) exit 1 ;; esac\n'
        f"mkdir -p {disc}/vmbatch\necho 'echo set up by $0' >{disc}/vmbatch/setup.sh\n"
    )
    (programs / "mount").write_text(f"#!/bin/sh\n{fake}")
    (programs / "mount").chmod(0o755)
    moved = script.replace("/run/vmbatch/disc", str(disc))
    assert moved != script
    for _ in range(2):
        done = subprocess.run(
            [shell, flag, moved],
            env={"PATH": f"{programs}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"set up by {disc}/vmbatch/setup.sh\n"


@pytest.mark.parametrize("name", ["", "-a", "a.b", "a b", "x" * 64, "a\n", "ü"])
def test_bad_host_names_are_refused(name: str) -> None:
    with pytest.raises(SiteError, match="name of a guest"):
        bundle(replace(CONTEXT, hostname=name), TEXTS)


@pytest.mark.parametrize(
    "owner",
    [
        replace(ALICE, uid=0),
        replace(ALICE, name=LOGIN),
        replace(ALICE, home="/a:b"),
        replace(ALICE, shell="/bin/sh\nroot::0:0::/:/bin/sh"),
    ],
)
def test_owners_that_no_guest_can_have_are_refused(owner: Owner) -> None:
    with pytest.raises(SiteError):
        bundle(replace(CONTEXT, owner=owner), TEXTS)


def test_a_possible_smb_share_needs_its_login() -> None:
    with pytest.raises(SiteError, match="run 1"):
        bundle(replace(CONTEXT, smb=None), TEXTS)


def test_guest_scripts_are_read_and_a_missing_one_is_named(tmp_path: Path) -> None:
    for name, data in TEXTS.items():
        (tmp_path / name).write_bytes(data)
    assert read_guest_scripts(tmp_path) == TEXTS
    (tmp_path / "agent.sh").unlink()
    with pytest.raises(NodeError, match=r"agent\.sh"):
        read_guest_scripts(tmp_path)


@pytest.mark.parametrize("name", sorted(path.name for path in SCRIPTS_VM.glob("*.sh")))
def test_guest_scripts_are_clean(name: str) -> None:
    done = subprocess.run(
        ["shellcheck", "--shell=sh", SCRIPTS_VM / name], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("", 0)
