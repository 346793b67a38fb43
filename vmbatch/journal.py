"""What has to be undone, on disk before it is done.

One JSON object a line, in the order of the acts. A record is synced before its act, so that
whatever exists after a crash stands here; what stands here need not exist, so every undo is
idempotent.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vmbatch.files import sync_directory

UndoValue = str | int

_MODE: Final = 0o600


@dataclass(frozen=True, slots=True)
class Undo:
    """One act to be undone.

    Args:
        kind: which undo, such as ``domain`` or ``port``.
        values: what it needs to know.
    """

    kind: str
    values: dict[str, UndoValue]

    def text(self, key: str) -> str:
        """Return the value under `key` as text."""
        return str(self.values[key])

    def number(self, key: str) -> int:
        """Return the value under `key` as a number."""
        return int(self.values[key])


class Journal:
    """The undo records of one job."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def intend(self, kind: str, **values: UndoValue) -> None:
        """Put an undo on disk; returns once it would survive a power cut."""
        line = json.dumps({"undo": kind, **values}, separators=(",", ":")) + "\n"
        new = not self.path.exists()
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, _MODE)
        try:
            os.write(fd, line.encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        if new:
            sync_directory(self.path.parent)

    def backwards(self) -> tuple[Undo, ...]:
        """Return the undos, last act first; a last line that was torn by a crash had no act."""
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return ()
        return tuple(undo for line in reversed(lines) if (undo := _parse(line)))


def _parse(line: bytes) -> Undo | None:
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return Undo(str(values.pop("undo")), values)
