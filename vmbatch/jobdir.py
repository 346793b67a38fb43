"""The directory of one job, and the registry that tells the job starter of it.

Every path is made from the job's id and the site file, none from the content of a file.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmbatch.errors import NodeError
from vmbatch.journal import Journal


@dataclass(frozen=True, slots=True)
class JobDir:
    """Where things of one job stand.

    Args:
        state: what must survive a reboot, usually /var/lib/vmbatch.
        run: what must not, usually /run/vmbatch.
        slug: the job's name for files (`vmbatch.job.Job.slug`).
    """

    state: Path
    run: Path
    slug: str

    @property
    def path(self) -> Path:
        """The directory itself."""
        return self.state / "jobs" / self.slug

    @property
    def journal(self) -> Journal:
        """What has to be undone."""
        return Journal(self.path / "journal")

    @property
    def record(self) -> Path:
        """Job and plan, for those who list and clean up."""
        return self.path / "record.json"

    @property
    def guest(self) -> Path:
        """What `remoteshell` needs to know."""
        return self.path / "guest.json"

    @property
    def key(self) -> Path:
        """The private key that opens this job's guest."""
        return self.path / "id_ed25519"

    @property
    def alias(self) -> str:
        """The name under which the guest's host key is pinned."""
        return f"vmbatch-{self.slug}"

    @property
    def known_hosts(self) -> Path:
        """The host key of this job's guest."""
        return self.path / "known_hosts"

    @property
    def disc(self) -> Path:
        """The context disc."""
        return self.path / "context.iso"

    @property
    def console(self) -> Path:
        """What the guest printed on its first serial port."""
        return self.path / "console.log"

    @property
    def channel(self) -> Path:
        """The host's end of the guest's channel."""
        return self.path / "agent.sock"

    @property
    def script(self) -> Path:
        """The job's script, where a wrapper stands in its place."""
        return self.path / "script"

    @property
    def ssh(self) -> Path:
        """The owner's own directory, where `remoteshell` keeps its sockets."""
        return self.path / "ssh"

    @property
    def timings(self) -> Path:
        """Phases and their seconds."""
        return self.path / "timings.json"

    @property
    def entry(self) -> Path:
        """The registry's entry for the job starter."""
        return self.run / "jobs" / self.slug

    @property
    def lock(self) -> Path:
        """Held by whoever provisions or releases the job."""
        return self.run / "locks" / self.slug

    def disk(self, target: str) -> Path:
        """Return the file behind the disk `target`."""
        return self.path / f"disk-{target}.qcow2"

    def create(self) -> None:
        """Make the directory, empty; its journal comes first.

        Raises:
            NodeError: it can't be made.
        """
        try:
            make_directories(self.state, self.run)
            self.path.mkdir(mode=0o711)
            self.path.chmod(0o711)
        except OSError as error:
            raise NodeError(
                f"can't make {self.path}: {error.strerror}", hint="see: df -h, and: vmbatch doctor"
            ) from error

    def remove(self) -> None:
        """Remove the directory, the journal last; safe where parts of it belong to the owner."""
        if not self.path.is_dir():
            return
        for child in self.path.iterdir():
            if child.name == "journal":
                continue
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            else:
                child.unlink()
        self.journal.path.unlink(missing_ok=True)
        self.path.rmdir()


def make_directories(state: Path, run: Path) -> None:
    """Make the directories that all jobs share."""
    for directory, mode in (
        (state, 0o755),
        (state / "jobs", 0o711),
        (state / "attempts", 0o700),
        (run, 0o755),
        (run / "jobs", 0o755),
        (run / "locks", 0o700),
        (run / "ports", 0o700),
    ):
        if not directory.is_dir():
            directory.mkdir(mode=mode, parents=True, exist_ok=True)
            directory.chmod(mode)


def write_file(path: Path, data: bytes, *, mode: int = 0o600, uid: int = 0, gid: int = 0) -> None:
    """Put a file in place whole, with its owner and mode, replacing what was there.

    Raises:
        NodeError: there is no room, or the directory is not writable.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(fd, "wb", closefd=False) as stream:
                stream.write(data)
            os.fchown(fd, uid, gid)
            os.fchmod(fd, mode)
        finally:
            os.close(fd)
        temporary.rename(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise NodeError(
            f"can't write {path}: {error.strerror}",
            hint=f"see whether the file system of {path.parent} is full: df -h {path.parent}",
        ) from error


def write_json(path: Path, value: object, *, mode: int = 0o600, uid: int = 0, gid: int = 0) -> None:
    """Put `value` in place as JSON; see `write_file`."""
    data = json.dumps(value, indent=1, default=str).encode() + b"\n"
    write_file(path, data, mode=mode, uid=uid, gid=gid)


def read_json(path: Path) -> Mapping[str, Any]:
    """Return the object in a file of root's, or an empty one where there is none."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def register_bare(run: Path, slug: str) -> None:
    """Tell the job starter that the job runs on the bare node."""
    write_file(run / "jobs" / slug, b"bare\n", mode=0o644)


def register_guest(run: Path, slug: str, directory: Path) -> None:
    """Tell the job starter that the job runs in a guest, and where to read of it."""
    write_file(run / "jobs" / slug, f"guest {directory}\n".encode(), mode=0o644)


def registered(run: Path, slug: str) -> str | None:
    """Return the registry's line for a job, or None."""
    try:
        return (run / "jobs" / slug).read_text().strip()
    except FileNotFoundError:
        return None


def unregister(run: Path, slug: str) -> None:
    """Take the job out of the registry; harmless where it is not in it."""
    (run / "jobs" / slug).unlink(missing_ok=True)
