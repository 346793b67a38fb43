"""The owner's SMB server, and looking at directories as the owner; run as root."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vmbatch.clock import Deadline
from vmbatch.errors import NodeError, ProgramError, SiteError
from vmbatch.job import Owner, find_owner
from vmbatch.shares.check import check_as_owner
from vmbatch.shares.choose import Share
from vmbatch.shares.group import start_time_of, stop_process_group
from vmbatch.shares.smb import SmbServer, start_smb

pytestmark = pytest.mark.integration

OWNER = find_owner("games")
Undo = list[tuple[int, int]]


@pytest.fixture
def top() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="vmbatch-shares-"))
    path.chmod(0o711)
    (path / "job").mkdir(mode=0o711)
    (path / "job").chmod(0o711)
    home = path / "home%u"
    home.mkdir(mode=0o700)
    os.chown(home, OWNER.uid, OWNER.gid)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def undo() -> Iterator[Undo]:
    started: Undo = []
    yield started
    for pid, start_time in started:
        stop_process_group(pid, start_time, Deadline.after(5))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def share(path: Path, tag: str = "home") -> Share:
    return Share(tag=tag, source=str(path), path=str(path))


def start(top: Path, undo: Undo, port: int, owner: Owner = OWNER) -> SmbServer:
    return start_smb(
        top / "job",
        [share(top / "home%u")],
        owner=owner,
        port=port,
        deadline=Deadline.after(20),
        started=lambda pid, start_time: undo.append((pid, start_time)),
    )


def group_of(pid: int) -> list[Path]:
    """Return the live processes of a group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[2] == str(pid) and fields[0] not in "ZX":
            found.append(stat.parent)
    return found


def status(process: Path) -> dict[str, list[str]]:
    lines = (process / "status").read_text().splitlines()
    return {line.partition(":")[0]: line.partition(":")[2].split() for line in lines}


def test_every_process_is_the_owners_and_has_no_rights_beyond(top: Path, undo: Undo) -> None:
    owner = replace(OWNER, groups=(*OWNER.groups, ("hpc", 4567)))
    server = start(top, undo, free_port(), owner)
    assert undo == [(server.pid, server.start_time)]
    members = group_of(server.pid)
    assert members
    for process in members:
        seen = status(process)
        assert set(seen["Uid"]) == {str(OWNER.uid)}
        assert set(seen["Gid"]) == {str(OWNER.gid)}
        assert set(seen["Groups"]) == {str(gid) for gid in owner.gids}
        assert [seen[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")] == [["0" * 16]] * 4
        assert seen["NoNewPrivs"] == ["1"]


def test_no_descriptor_and_no_variable_of_the_starter_reaches_it(
    top: Path, undo: Undo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMBATCH_TEST_SECRET", "x")
    secret = top / "secret"
    descriptor = os.open(secret, os.O_CREAT | os.O_RDWR, 0o600)
    os.set_inheritable(descriptor, True)
    try:
        server = start(top, undo, free_port())
    finally:
        os.close(descriptor)
    for process in group_of(server.pid):
        assert b"VMBATCH_TEST_SECRET" not in (process / "environ").read_bytes()
        assert server.password.encode() not in (process / "cmdline").read_bytes()
        targets = [os.readlink(entry) for entry in (process / "fd").iterdir()]  # noqa: PTH115
        assert str(secret) not in targets
        assert targets.count("/dev/null") >= 3


def test_it_listens_on_loopback_alone(top: Path, undo: Undo) -> None:
    port = free_port()
    start(top, undo, port)
    rows = []
    for table in ("tcp", "tcp6"):
        rows += [row.split() for row in Path("/proc/net", table).read_text().splitlines()[1:]]
    places = [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")]
    assert places == [f"0100007F:{port:04X}"]


def test_stopping_leaves_no_process_and_frees_the_port(top: Path, undo: Undo) -> None:
    port = free_port()
    server = start(top, undo, port)
    stop_process_group(server.pid, server.start_time, Deadline.after(5))
    assert group_of(server.pid) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
    stop_process_group(server.pid, server.start_time, Deadline.after(5))


def test_a_server_whose_leader_was_killed_is_stopped_too(top: Path, undo: Undo) -> None:
    server = start(top, undo, free_port())
    with socket.create_connection(("127.0.0.1", server.port)):
        os.kill(server.pid, 9)
        os.waitpid(server.pid, 0)
        stop_process_group(server.pid, server.start_time, Deadline.after(5))
        assert group_of(server.pid) == []


def test_a_port_that_another_program_holds_is_told(top: Path, undo: Undo) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(NodeError, match=f"port {port}"):
            start(top, undo, port)
    assert undo == []


def test_a_port_that_is_taken_meanwhile_is_told_and_nothing_is_left(
    top: Path, undo: Undo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(start_smb.__globals__, "is_held", lambda _port: False)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with pytest.raises(NodeError, match="SMB server for games"):
            start(top, undo, listener.getsockname()[1])
    assert len(undo) == 1
    assert group_of(undo[0][0]) == []


def test_nothing_is_started_when_the_journal_fails(top: Path) -> None:
    seen: list[int] = []

    def fail(pid: int, start_time: int) -> None:
        seen.append(pid)
        assert start_time == start_time_of(pid)
        assert (Path("/proc") / str(pid) / "comm").read_text() == "sh\n"
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        start_smb(
            top / "job",
            [share(top / "home%u")],
            owner=OWNER,
            port=free_port(),
            deadline=Deadline.after(20),
            started=fail,
        )
    os.waitpid(seen[0], 0)
    assert group_of(seen[0]) == []
    assert not (top / "job/smb/var/log.smbd").exists()


def test_other_users_see_neither_password_nor_state(top: Path, undo: Undo) -> None:
    server = start(top, undo, free_port())
    smb = top / "job/smb"
    assert (smb / "var").stat().st_mode & 0o777 == 0o700
    assert (smb / "var").stat().st_uid == OWNER.uid
    assert (smb / "var/smbpasswd").stat().st_mode & 0o077 == 0
    assert smb.stat().st_uid == (smb / "smb.conf").stat().st_uid == 0
    assert server.password not in (smb / "smb.conf").read_text() + repr(server)


def test_roots_directories_are_never_served(top: Path, undo: Undo) -> None:
    with pytest.raises(SiteError, match="root"):
        start(top, undo, free_port(), find_owner("root"))
    with pytest.raises(SiteError, match="user name"):
        start(top, undo, free_port(), replace(OWNER, name="a,sec=none"))
    assert undo == []
    assert not (top / "job/smb").exists()


def test_samba_not_installed_is_told_with_the_package(
    top: Path, undo: Undo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(start_smb.__globals__, "CLEAN_ENVIRONMENT", {"PATH": str(top)})
    with pytest.raises(ProgramError) as caught:
        start(top, undo, free_port())
    assert "apt-get install samba" in caught.value.hint


def test_a_directory_is_looked_at_as_the_owner(top: Path) -> None:
    (top / "roots").mkdir(mode=0o700)
    (top / "open").mkdir()
    (top / "link to\nopen").symlink_to(top / "open")
    (top / "file").touch()
    wanted = [share(top / name) for name in ("home%u", "roots", "gone", "file")]
    named = share(top / "link to\nopen", "work")
    kept = check_as_owner([*wanted, named], OWNER)
    assert [found.source for found in kept] == [str(top / "home%u"), str(top / "open")]
    assert kept[1].path == named.path


def test_a_link_into_the_system_is_left_out(top: Path, caplog: pytest.LogCaptureFixture) -> None:
    (top / "work").symlink_to("/etc")
    assert check_as_owner([share(top / "work", "work")], OWNER) == ()
    assert "belongs to the system" in caplog.text


def test_supplementary_groups_count(top: Path) -> None:
    (top / "group").mkdir()
    os.chown(top / "group", 0, 4567)
    (top / "group").chmod(0o770)
    member = replace(OWNER, groups=(*OWNER.groups, ("hpc", 4567)))
    assert check_as_owner([share(top / "group")], OWNER) == ()
    assert len(check_as_owner([share(top / "group")], member)) == 1
