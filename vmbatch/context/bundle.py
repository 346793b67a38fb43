"""What a guest is told, as a set of small files. Pure: the same context gives the same bytes.

The set is a cloud-init NoCloud seed (https://cloudinit.readthedocs.io, "NoCloud") and holds
everything that a guest without cloud-init needs; its layout is in ``docs/architecture.md``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vmbatch.context import conf
from vmbatch.context.keys import dropbear_form
from vmbatch.errors import NodeError, SiteError
from vmbatch.job import Owner

LOGIN = "vmbatch-login"
"""The account in the guest that ssh logs in to: the owner's ids, ``/bin/sh``, a home of root's.

The owner's own account has the owner's home, which may be a share: a server that reads keys
there would read the host's files, and a shell that starts there would run the owner's start
files on the way of the job's streams.
"""

SCRIPTS = ("setup.sh", "accounts.sh", "shares.sh", "sshserver.sh", "agent.sh", "enter")
"""What of ``scripts-vm`` is on the disc."""

_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_SECRET = 0o400
_PROGRAM = 0o555


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """A directory of the host's in the guest.

    Args:
        kinds: the ways to get it, best first, each ``9p`` or ``smb``.
        tag: the 9p mount tag, and the name of the SMB share.
        path: where it is in the guest, absolute.
    """

    kinds: tuple[str, ...]
    tag: str
    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SmbLogin:
    """How the guest reaches the owner's SMB server on the host.

    Args:
        port: TCP port on the host's loopback, which a guest sees as the gateway 10.0.2.2.
        user: user name for SMB.
        password: this job's password.
    """

    port: int
    user: str
    password: str


@dataclass(frozen=True, kw_only=True, slots=True)
class GuestContext:
    """Everything that one guest is told.

    Args:
        job_id: the batch system's id; also the instance id for cloud-init.
        hostname: the guest's name, one DNS label.
        owner: whose job it is.
        script_dir: directory to make for the job script, if any.
        mounts: the owner's directories.
        smb: login for the mounts of kind ``smb``.
        host_key: private ssh host key, OpenSSH format.
        host_key_public: its public half, a line ``ssh-ed25519 …``.
        authorized_key: the line that may log in.
        prolog: the site's script to run as root before the job.
        epilog: the site's script to run as root after the job.
    """

    job_id: str
    hostname: str
    owner: Owner
    script_dir: str | None
    mounts: tuple[Mount, ...]
    smb: SmbLogin | None
    host_key: bytes
    host_key_public: str
    authorized_key: str
    prolog: bytes | None
    epilog: bytes | None


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscFile:
    """A file of the disc.

    Args:
        path: relative, with slashes.
        data: its bytes.
        mode: permission bits in the guest; the owner is always root.
    """

    path: str
    data: bytes
    mode: int = 0o444


def bundle(context: GuestContext, scripts: Mapping[str, bytes]) -> tuple[DiscFile, ...]:
    """Return the files of a guest's disc.

    Args:
        context: what the guest is told.
        scripts: the contents of ``scripts-vm`` by name, as `read_guest_scripts` returns them.

    Raises:
        SiteError: the context is one that no guest can have.
    """
    _check(context)
    files = [
        DiscFile(path="meta-data", data=_meta_data(context)),
        DiscFile(path="user-data", data=_user_data()),
        DiscFile(path="vmbatch/guest.conf", data=_guest_conf(context), mode=_SECRET),
        *(DiscFile(path=f"vmbatch/{name}", data=scripts[name], mode=_PROGRAM) for name in SCRIPTS),
        DiscFile(path="vmbatch/authorized_keys", data=_line(context.authorized_key)),
        DiscFile(path="vmbatch/ssh_host_ed25519_key", data=context.host_key, mode=_SECRET),
        DiscFile(path="vmbatch/ssh_host_ed25519_key.pub", data=_line(context.host_key_public)),
        DiscFile(
            path="vmbatch/dropbear_ed25519_host_key",
            data=dropbear_form(context.host_key),
            mode=_SECRET,
        ),
    ]
    for name, script in (("prolog.sh", context.prolog), ("epilog.sh", context.epilog)):
        if script is not None:
            files.append(DiscFile(path=name, data=script, mode=_PROGRAM))
    return tuple(files)


def read_guest_scripts(directory: Path) -> Mapping[str, bytes]:
    """Read what runs inside guests.

    Args:
        directory: ``scripts-vm`` of the checkout or of the installation.

    Raises:
        NodeError: one of them can't be read.
    """
    try:
        return {name: (directory / name).read_bytes() for name in SCRIPTS}
    except OSError as error:
        raise NodeError(
            f"{error.filename}, which runs in guests, can't be read: {error.strerror}",
            hint="install vmbatch again on this node",
        ) from None


def _check(context: GuestContext) -> None:
    if not _HOSTNAME.fullmatch(context.hostname):
        raise SiteError(
            f"{context.hostname!r} can't be the name of a guest",
            hint="a name is 1 to 63 letters, digits and dashes",
        )
    owner = context.owner
    if owner.uid == 0 or owner.name == LOGIN:
        raise SiteError(
            f"a guest can't be set up for the user {owner.name!r}",
            hint=f"jobs of root and of a user named {LOGIN} can't have a guest",
        )
    for text in (owner.name, owner.group, owner.home, owner.shell):
        if ":" in text:
            raise SiteError(
                f"a guest can't be set up for {owner.name!r}: {text!r} holds a colon",
                hint="check the user's entry in the node's user database",
            )
    for mount in context.mounts:
        if "smb" in mount.kinds and context.smb is None:
            raise SiteError(f"the share {mount.path} may be SMB, and there is no SMB login")


def _meta_data(context: GuestContext) -> bytes:
    return _json({"instance-id": context.job_id, "local-hostname": context.hostname})


def _user_data() -> bytes:
    """Return a cloud-config that hands everything to ``setup.sh``.

    ``bootcmd`` is the first that cloud-init runs once the network is up, and comes before its own
    modules for users and ssh; those are told to make no user (an empty list would be against
    cloud-init's schema) and no more than one host key, which our server does not use. ``runcmd``
    is for images whose site has taken ``bootcmd`` off the list: the second run does nothing.
    """
    start = ["sh", "-c", _START]
    config = {
        "bootcmd": [start],
        "runcmd": [start],
        "users": [{"name": "root"}],
        "disable_root": True,
        "ssh_pwauth": False,
        "ssh_deletekeys": False,
        "ssh_genkeytypes": ["ed25519"],
        "ssh": {"emit_keys_to_console": False},
        "no_ssh_fingerprints": True,
        "manage_etc_hosts": False,
        "package_update": False,
        "package_upgrade": False,
        "apt": {"preserve_sources_list": True},
        "locale": "false",
    }
    return b"#cloud-config\n" + _json(config)


_START = """\
disc=/run/vmbatch/disc
mkdir -p $disc
[ -e $disc/vmbatch/setup.sh ] ||
mount -t iso9660 -o ro /dev/disk/by-label/cidata $disc ||
mount -t iso9660 -o ro LABEL=cidata $disc ||
mount -t iso9660 -o ro /dev/sr0 $disc
exec sh $disc/vmbatch/setup.sh"""


def _guest_conf(context: GuestContext) -> bytes:
    owner = context.owner
    values = {
        "VB_JOB": context.job_id,
        "VB_HOSTNAME": context.hostname,
        "VB_LOGIN": LOGIN,
        "VB_USER": owner.name,
        "VB_UID": str(owner.uid),
        "VB_GROUP": owner.group,
        "VB_GID": str(owner.gid),
        "VB_GROUPS": conf.words(f"{conf.encode(name)}:{gid}" for name, gid in _groups(owner)),
        "VB_HOME": owner.home,
        "VB_SHELL": owner.shell,
        "VB_SCRIPT_DIR": context.script_dir or "",
        "VB_SHARES": conf.words(_share(mount) for mount in sorted(context.mounts, key=_by_path)),
        "VB_HOSTKEY": conf.fingerprint(context.host_key_public),
    }
    if context.smb is not None:
        values["VB_SMB_PORT"] = str(context.smb.port)
        values["VB_SMB_USER"] = context.smb.user
        values["VB_SMB_PASSWORD"] = context.smb.password
    return conf.assignments(values)


def _groups(owner: Owner) -> tuple[tuple[str, int], ...]:
    """Return the owner's groups, the primary one first and once."""
    others = tuple(group for group in owner.groups if group[1] != owner.gid)
    return ((owner.group, owner.gid), *others)


def _share(mount: Mount) -> str:
    return f"{','.join(mount.kinds)}:{mount.tag}:{conf.encode(mount.path)}"


def _by_path(mount: Mount) -> list[str]:
    """Sort a directory before what is mounted inside it."""
    return mount.path.rstrip("/").split("/")


def _json(value: object) -> bytes:
    """Return JSON, which is YAML as long as it is ASCII without escapes of surrogates."""
    return json.dumps(value, indent=1).encode() + b"\n"


def _line(text: str) -> bytes:
    return text.strip().encode() + b"\n"
