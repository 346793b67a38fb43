"""An SMB server that runs as the job's owner and serves this job alone."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmbatch.clock import Deadline
from vmbatch.errors import NodeError, ProgramError, SiteError
from vmbatch.job import Owner
from vmbatch.process import CLEAN_ENVIRONMENT, missing, run
from vmbatch.shares.choose import Share
from vmbatch.shares.group import MARK, mark_of, start_time_of, stop_process_group
from vmbatch.shares.listener import holds_port, is_held
from vmbatch.shares.owner import as_owner
from vmbatch.shares.smbconf import render_smb_conf

DIRECTORY = "smb"  # in the job's directory
_TICK = 0.01  # seconds between two looks whether the server listens
_START_SECONDS = 20.0
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

# Waits for a line, which comes once the undo is in the journal; if the starter dies before, it
# reads the end of the file and does nothing. What follows keeps this process's id.
_GATE = f"""ulimit -c 0; umask 077
read -r {MARK} || exit 1; export {MARK}
exec setpriv --no-new-privs --inh-caps=-all "$@" </dev/null"""

_started: list[subprocess.Popen[bytes]] = []  # kept: a Popen that is dropped warns of its child


@dataclass(frozen=True, kw_only=True, slots=True)
class SmbServer:
    """A server that listens on 127.0.0.1.

    Args:
        port: TCP port.
        user: the one user it knows.
        password: that user's password: letters and digits.
        pid: leader of its process group.
        start_time: of that leader, in clock ticks since boot.
    """

    port: int
    user: str
    password: str
    pid: int
    start_time: int

    def __repr__(self) -> str:
        """All but the password, which is not for logs."""
        return f"SmbServer(port={self.port}, user={self.user!r}, pid={self.pid})"


def start_smb(
    directory: Path,
    shares: Sequence[Share],
    *,
    owner: Owner,
    port: int,
    deadline: Deadline,
    started: Callable[[int, int], None],
) -> SmbServer:
    """Start the server and return when it listens.

    Args:
        directory: root's job directory, 0711; a subdirectory `DIRECTORY` is made in it.
        shares: what to serve; `source` is a real path that was looked at as the owner.
        owner: as whom the server runs, and as whom the guest logs in.
        port: a port on 127.0.0.1 that is leased to this job.
        deadline: when it must listen.
        started: called with process id and start time before the server's program is loaded;
            when it raises, or this process dies in it, nothing is started.

    Raises:
        ProgramError: Samba is not installed, or its tool failed.
        SiteError: the owner can't be served by SMB.
        NodeError: the server did not come up; nothing of it is left running.
    """
    _refuse(owner)
    smbd, pdbedit = _program("smbd"), _program("pdbedit")
    _refuse_port(port)
    limit = deadline.within(_START_SECONDS)
    base, var = directory / DIRECTORY, directory / DIRECTORY / "var"
    conf = _write_files(base, var, shares, owner, port)
    password = secrets.token_hex(20)
    typed = f"{password}\n{password}\n".encode()
    argv = [pdbedit, "-s", str(conf), "-t", "-a", "-u", owner.name]
    run(argv, stdin=typed, deadline=limit, **as_owner(owner))
    argv = [smbd, "--foreground", "--no-process-group", "-s", str(conf), "-l", str(var)]
    child = _spawn_gate(argv, owner)
    pid = child.pid
    start_time = _open_gate(child, started)
    try:
        _wait(child, port, limit, var, owner)
    except BaseException:
        stop_process_group(pid, start_time, Deadline.after(5))
        raise
    return SmbServer(port=port, user=owner.name, password=password, pid=pid, start_time=start_time)


def _refuse(owner: Owner) -> None:
    if owner.uid == 0:
        raise SiteError(
            "directories of root are never served by SMB",
            hint="submit the job as an ordinary user, or switch shares off",
        )
    if not _PLAIN_NAME.fullmatch(owner.name):
        raise SiteError(
            f"the user name {owner.name!r} can't be used for SMB",
            hint="give this user images whose kernel has 9p, or switch shares off",
        )


def _refuse_port(port: int) -> None:
    if is_held(port):  # Samba shares a port with other servers of the same user, and so mixes jobs
        raise NodeError(
            f"another program listens on port {port}, which the SMB server was to get",
            hint=f"see which it is: ss -ltnp sport = :{port}",
        )


def _program(name: str) -> str:
    found = shutil.which(name, path=CLEAN_ENVIRONMENT["PATH"])
    if found is None:
        raise missing("smbd")
    return found


def _write_files(base: Path, var: Path, shares: Sequence[Share], owner: Owner, port: int) -> Path:
    base.mkdir(mode=0o711)
    for share in shares:
        (base / share.tag).symlink_to(share.source)
    conf = base / "smb.conf"
    conf.write_text(render_smb_conf(base, var, shares, port), encoding="utf-8")
    var.mkdir(mode=0o700)
    base.chmod(0o711)  # whatever the umask is
    conf.chmod(0o644)
    os.chown(var, owner.uid, owner.gid)
    return conf


def _spawn_gate(argv: list[str], owner: Owner) -> subprocess.Popen[bytes]:
    identity = as_owner(owner)
    child = subprocess.Popen(
        ["/bin/sh", "-c", _GATE, "smbd", *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=dict(CLEAN_ENVIRONMENT),
        cwd="/",
        start_new_session=True,
        user=identity.get("user"),
        group=identity.get("group"),
        extra_groups=identity.get("groups"),
    )
    _started.append(child)
    return child


def _open_gate(child: subprocess.Popen[bytes], started: Callable[[int, int], None]) -> int:
    if child.stdin is None:
        raise NodeError("the SMB server's starter has no input")
    with child.stdin as gate:
        start_time = start_time_of(child.pid)
        started(child.pid, start_time)
        gate.write(f"{mark_of(child.pid, start_time)}\n".encode())
    return start_time


def _wait(
    child: subprocess.Popen[bytes], port: int, limit: Deadline, var: Path, owner: Owner
) -> None:
    while not holds_port(child.pid, port):
        if child.poll() is not None:
            raise NodeError(
                f"the SMB server for {owner.name} ended with status {child.returncode}: "
                f"{_last_words(var, owner)}",
                hint=f"see whether another program holds port {port}: ss -ltnp",
            )
        if limit.passed():
            raise NodeError(
                f"the SMB server for {owner.name} does not listen on port {port}: "
                f"{_last_words(var, owner)}",
                hint="see whether the node is overloaded or its user database does not answer",
            )
        time.sleep(_TICK)


def _last_words(var: Path, owner: Owner) -> str:
    try:  # as the owner: the file lies in a directory of theirs
        argv = ["tail", "-n", "3", str(var / "log.smbd")]
        text = run(argv, deadline=Deadline.after(2), **as_owner(owner))
    except ProgramError:
        return "it left no log"
    return " ".join(text.decode(errors="replace").split()) or "it left no log"
