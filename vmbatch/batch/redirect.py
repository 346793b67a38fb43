"""How the batch system is brought to run a job in its guest instead of on the node.

Either the mom has a job starter that is ours, or a wrapper stands in place of the job's script. One
of them is made sure of before anything else is made, so that no failure lets the job run on the
node: both refuse a job that has no guest.
"""

from __future__ import annotations

import os
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

from vmbatch.errors import NodeError
from vmbatch.jobdir import write_file

REMOTESHELL = Path(__file__).resolve().parents[2] / "scripts" / "remoteshell"

_MARK = "# vmbatch: the job's own script is kept; this leads to its guest"
_KEPT = ".vmbatch"
_LARGEST_STARTER = 1 << 16


@dataclass(frozen=True, slots=True)
class KeptScript:
    """A job's script that gave way to a wrapper.

    Args:
        script: the path that the batch system runs, where the wrapper stands.
    """

    script: Path

    @property
    def original(self) -> Path:
        """Another name of the job's own script, beside it, while the guest is made."""
        return self.script.with_name(self.script.name + _KEPT)

    def hand_over(self, place: Path, *, uid: int, gid: int) -> None:
        """Copy the job's own text to `place`, readable by its owner alone, and forget it here."""
        write_file(place, self.original.read_bytes(), mode=0o500, uid=uid, gid=gid)
        self.forget()

    def forget(self) -> None:
        """Remove the second name; the wrapper stays: the batch system removes or replaces it."""
        self.original.unlink(missing_ok=True)


def leads_to_us(starter: str | None, remoteshell: Path = REMOTESHELL) -> bool:
    """Whether a mom's ``$job_starter`` is our remoteshell, or a script of root's that execs it."""
    if not starter:
        return False
    path = Path(starter)
    try:
        found = path.stat()
    except OSError:
        return False
    if not stat.S_ISREG(found.st_mode) or not found.st_mode & stat.S_IXOTH:
        return False
    if path.resolve() == remoteshell.resolve():
        return True
    safe = found.st_uid == 0 and not found.st_mode & 0o022 and found.st_size <= _LARGEST_STARTER
    return safe and _execs(path, remoteshell)


def _execs(path: Path, remoteshell: Path) -> bool:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return False
    return any(_is_exec_of(line, remoteshell.resolve()) for line in lines)


def _is_exec_of(line: str, remoteshell: Path) -> bool:
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return False
    return words[:1] == ["exec"] and any(
        word.startswith("/") and Path(word).resolve() == remoteshell for word in words[1:]
    )


def put_wrapper(script: Path, job_id: str, run: Path, saved: Path | None = None) -> KeptScript:
    """Put a wrapper of root's in place of a job's script, in one rename.

    The script stands in a directory of root's; only its bytes are its owner's, and they are kept,
    not read.

    Args:
        script: the job's script on the node.
        job_id: for the wrapper to tell remoteshell.
        run: `paths.run`, likewise.
        saved: where an earlier prologue may have copied the text to.

    Raises:
        NodeError: it can't be done; the script stands as before.
    """
    kept = KeptScript(script)
    try:
        if not is_wrapper(script):
            kept.forget()
            os.link(script, kept.original, follow_symlinks=False)
        elif not kept.original.exists():
            _restore(kept, saved)
    except OSError as error:
        raise NodeError(
            f"can't keep the job's script {script}: {error.strerror}",
            hint="see whether its file system is full or read-only (df -h)",
        ) from error
    command = shlex.join([str(REMOTESHELL), "--run", str(run), "--wrapped", job_id])
    write_file(script, f'#!/bin/sh\n{_MARK}\nexec {command} "$@"\n'.encode(), mode=0o755)
    return kept


def is_wrapper(script: Path) -> bool:
    """Whether our wrapper stands there already, from an earlier prologue of the same job."""
    fd = os.open(script, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise NodeError(
                f"{script} is not a file", hint="the mom writes it anew at the next try"
            )
        return found.st_uid == 0 and _MARK.encode() in os.read(fd, 256)
    finally:
        os.close(fd)


def _restore(kept: KeptScript, saved: Path | None) -> None:
    if saved is None or not saved.exists():
        raise NodeError(
            f"the text of the job's script {kept.script} is lost: an earlier prologue was killed",
            hint="the batch system sends it again when it requeues the job",
        )
    write_file(kept.original, saved.read_bytes(), mode=0o700)
