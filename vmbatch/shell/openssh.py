"""How the system's ssh is called: nothing of the user's or the site's ssh configuration counts."""

from __future__ import annotations

import os

from vmbatch.errors import ProgramError
from vmbatch.shell.guestfile import Guest

SSH = "/usr/bin/ssh"
LOST = 255  # exit status of ssh when it is at fault, or the command said so itself

_OPTIONS = (
    "BatchMode=yes",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "PreferredAuthentications=publickey",
    "GlobalKnownHostsFile=none",
    "StrictHostKeyChecking=yes",
    "UpdateHostKeys=no",
    "CheckHostIP=no",
    "HostKeyAlgorithms=ssh-ed25519",
    # The quickest that all of OpenSSH and dropbear of ten years know.
    "KexAlgorithms=curve25519-sha256,curve25519-sha256@libssh.org",
    "Ciphers=chacha20-poly1305@openssh.com,aes128-ctr,aes256-ctr",
    "ConnectTimeout=30",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "EscapeChar=none",
    "PermitLocalCommand=no",
    # Where the guest's sshd accepts it, bash then does not read ~/.bashrc before `enter`.
    "SetEnv=SHLVL=2",
)


def environment(own: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Return the environment for ssh itself: the terminal's name, and nothing that steers it."""
    clean = {b"PATH": b"/usr/bin:/bin", b"LC_ALL": b"C.UTF-8"}
    if b"TERM" in own:
        clean[b"TERM"] = own[b"TERM"]
    return clean


def connect(guest: Guest, *, control: str, command: str, log: str | None) -> list[str]:
    """Return the command line of a new connection.

    Args:
        guest: where to.
        control: path of the socket to make for further sessions, or "none".
        command: what the guest's shell gets.
        log: file for ssh's own words, or None for standard error and a terminal in the guest.
    """
    master = "no" if control == "none" else "yes"
    words = [*_common(guest), "-o", f"ControlMaster={master}", "-o", f"ControlPath={control}"]
    # DEBUG1 is a few dozen lines a connection; one of them tells that the command has ended.
    words += ["-o", "LogLevel=DEBUG1", *(["-tt"] if log is None else ["-T", "-E", log])]
    return [*words, guest.host, command]


def join(guest: Guest, *, control: str, command: str) -> list[str]:
    """Return the command line of a further session over `control`, never of a new connection."""
    words = [*_common(guest), "-o", "ControlMaster=no", "-o", f"ControlPath={control}"]
    words += ["-o", "LogLevel=QUIET", "-o", "ProxyCommand=/bin/false", "-T"]
    return [*words, guest.host, command]


def _common(guest: Guest) -> list[str]:
    words = [SSH, "-F", "none", "-a", "-x", "-p", str(guest.port), "-l", guest.user]
    for option in (
        *_OPTIONS,
        f"IdentityFile={guest.key}",
        f"UserKnownHostsFile={guest.known_hosts}",
        f"HostKeyAlias={guest.alias}",
    ):
        words += ["-o", option]
    return words


def check() -> None:
    """See that ssh is there.

    Raises:
        ProgramError: it is not.
    """
    if not os.access(SSH, os.X_OK):
        raise ProgramError(
            f"the program {SSH} is not installed on this node",
            hint="install it, on Debian with: apt-get install openssh-client",
        )
