"""The configuration of one job's SMB server, as text: smb.conf(5)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vmbatch.shares.choose import Share

# The Unix extensions, which give the guest true modes, owners, links and pipes, are spoken in the
# SMB1 dialect alone by Samba 4.17. What is weak there is no way in: the port is on loopback,
# NTLMv2 is the only log-in, and the password is random and lives as long as the job.
_GLOBAL: dict[str, str] = {
    "server role": "standalone server",
    "netbios name": "VMBATCH",
    "workgroup": "WORKGROUP",
    "server string": "vmbatch",
    # Who gets in: nobody without the password.
    "interfaces": "127.0.0.1",
    "bind interfaces only": "yes",
    "hosts allow": "127.0.0.1",
    "hostname lookups": "no",
    "map to guest": "never",
    "restrict anonymous": "2",
    "ntlm auth": "ntlmv2-only",
    "max smbd processes": "32",
    "server min protocol": "NT1",
    "unix extensions": "yes",
    # What a file server of one user does without.
    "disable netbios": "yes",
    "disable spoolss": "yes",
    "load printers": "no",
    "printing": "bsd",
    "printcap name": "/dev/null",
    "rpc start on demand helpers": "no",
    "registry shares": "no",
    "usershare max shares": "0",
    "host msdfs": "no",
    "enable core files": "no",
    "log level": "0",
    "max log size": "1000",
    # With it the kernel's client writes up to 1 MiB at a time, not 64 KiB.
    "min receivefile size": "16384",
}

# A file is what it is on the host: no DOS attributes kept in modes or extended attributes.
_SHARE: dict[str, str] = {
    "read only": "no",
    "browseable": "no",
    "case sensitive": "yes",
    "preserve case": "yes",
    "mangled names": "no",
    "hide dot files": "no",
    "create mask": "07777",
    "directory mask": "07777",
    "store dos attributes": "no",
    "ea support": "no",
    "map archive": "no",
    "map readonly": "no",
    "delete readonly": "yes",
    "kernel share modes": "no",
    "posix locking": "yes",
    "strict sync": "yes",
}

_DIRECTORIES = ("private dir", "pid directory", "lock directory", "state directory")


def render_smb_conf(base: Path, var: Path, shares: Sequence[Share], port: int) -> str:
    """Return the text of smb.conf.

    A share's path is a link in `base`, made by root: in smb.conf itself a ``%`` would be
    expanded, and the names of directories are users' text.

    Args:
        base: root's directory with one link for each share, named by its tag.
        var: the owner's directory for what the server writes.
        shares: what to serve.
        port: TCP port on 127.0.0.1.
    """
    settings = {
        **_GLOBAL,
        "smb ports": str(port),
        **{name: str(var) for name in (*_DIRECTORIES, "cache directory")},
        "ncalrpc dir": str(var / "ncalrpc"),
        "passdb backend": f"smbpasswd:{var / 'smbpasswd'}",
        "log file": str(var / "log.smbd"),
    }
    parts = [_section("global", settings)]
    parts += [_section(s.tag, {"path": str(base / s.tag), **_SHARE}) for s in shares]
    return "\n".join(parts)


def _section(name: str, settings: dict[str, str]) -> str:
    return "".join([f"[{name}]\n", *(f"{key} = {value}\n" for key, value in settings.items())])
