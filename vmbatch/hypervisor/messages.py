"""The lines that a guest sends over its channel: text of a machine that we do not trust."""

from __future__ import annotations

from dataclasses import dataclass

CHANNEL = "org.vmbatch.guest.0"
MAX_LINE = 1000
"""Longest line, in bytes."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A step of the guest's set-up begins."""

    name: str


@dataclass(frozen=True, slots=True)
class Note:
    """Text for the log."""

    text: str


@dataclass(frozen=True, slots=True)
class Fail:
    """A step failed; the guest will not become ready."""

    step: str
    text: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The owner can log in.

    Args:
        port: where the ssh server listens, in the guest.
        host_key: fingerprint of its host key.
        address: the guest's own address.
    """

    port: int
    host_key: str
    address: str


@dataclass(frozen=True, slots=True)
class EpilogEnded:
    """The site's epilog.sh ended with this exit status."""

    status: int


Message = Phase | Note | Fail | Ready | EpilogEnded


def parse_line(line: bytes) -> Message | None:
    """Return what a line says, or None where it says nothing that we know.

    >>> parse_line(b"phase user")
    Phase(name='user')
    """
    text = _printable(line[:MAX_LINE].decode(errors="replace")).strip()
    word, _, rest = (part.strip() for part in text.partition(" "))
    match word:
        case "phase":
            return Phase(rest[:64])
        case "note":
            return Note(rest)
        case "fail":
            step, _, reason = rest.partition(" ")
            return Fail(step[:64], reason)
        case "ready":
            return _ready(rest)
        case "epilog":
            return EpilogEnded(int(rest)) if rest.isdecimal() and len(rest) < 4 else None
    return None


def _ready(rest: str) -> Ready:
    fields = dict(field.partition("=")[::2] for field in rest.split())
    port = fields.get("port", "22")
    return Ready(
        port=int(port) if port.isdecimal() and len(port) < 6 else 22,
        host_key=fields.get("hostkey", ""),
        address=fields.get("address", ""),
    )


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
