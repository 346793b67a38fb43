"""What ``qsub -l`` takes, read the way Torque's qsub reads it, quirks included."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from vmbatch.errors import RequestError

_TIMES = frozenset({"walltime", "cput", "pcput"})
_SENT = _TIMES | {
    "arch", "epilogue", "file", "gres", "host", "mem", "ncpus", "nice", "nodes", "opsys", "other",
    "pmem", "prologue", "pvmem", "size", "vmem",
}  # fmt: skip
_NOT_SENT = frozenset({"feature", "flags", "gattr", "image", "qos", "software", "template", "var"})
"""Kept by the server, never seen by a mom."""

_DEFAULTS = (("nodes", "1"), ("walltime", "01:00:00"))
_LARGEST = 2048
"""Bytes of the resource list that a script sees; what does not fit is left out, silently."""


class QsubError(RequestError):
    """qsub would refuse the job.

    Args:
        message: qsub's words.
        status: qsub's exit status.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message, hint="correct the option; it is read as Torque's qsub reads it")
        self.status = status


@dataclass(frozen=True, slots=True)
class Nodes:
    """A nodes request.

    >>> Nodes.parse("1:ppn=2")
    Nodes(count=1, ppn=2)
    """

    count: int
    ppn: int

    @classmethod
    def parse(cls, text: str) -> Nodes:
        """Read ``COUNT[:ppn=N]`` or ``HOST[:ppn=N]``."""
        head = text.split(":")[0]
        found = re.search(r":ppn=(\d+)", text)
        return cls(int(head) if head.isdecimal() else 1, int(found[1]) if found else 1)


def parse_resources(text: str) -> dict[str, str]:
    """Parse the value of one ``-l``.

    >>> parse_resources('nodes=1:ppn=2,other="a=1,b=2"')
    {'nodes': '1:ppn=2', 'other': 'a=1,b=2'}

    Raises:
        QsubError: qsub refuses it.
    """
    found: dict[str, str] = {}
    rest = text
    while rest:
        name, value, rest = _next_pair(rest)
        if name not in _SENT | _NOT_SENT:
            raise QsubError(
                f"qsub: submit error (Unknown resource type  Resource_List.{name})", status=189
            )
        found[name] = _times(name, _within_quotes(value))
    return found


def _next_pair(text: str) -> tuple[str, str, str]:
    name, equals, rest = text.partition("=")
    if not equals or "," in name or not name.strip():
        raise _no_pair(text.split(",")[0])
    value_end = re.search(r"[,\"']", rest)
    if value_end is None:
        return name.strip(), rest, ""
    if value_end[0] == ",":
        return name.strip(), rest[: value_end.start()], rest[value_end.end() :]
    value, _, after = rest[value_end.end() :].partition(value_end[0])
    if after and not after.startswith(","):
        raise _no_pair(after)
    return name.strip(), value, after[1:]


def _within_quotes(value: str) -> str:
    """Drop what stands before an inner quote: observed, and told to nobody by qsub."""
    quote = re.search("[\"']", value)
    return value[quote.end() :].partition(quote[0])[0] if quote else value


def _no_pair(text: str) -> QsubError:
    return QsubError(
        f"qsub: Cannot find an attr=value pair in comma separated value '{text}'", status=1
    )


def _times(name: str, value: str) -> str:
    if name not in _TIMES or not value:
        return value
    return format_time(parse_time(value))


def parse_time(text: str) -> int:
    """Return the seconds of ``[[[D:]H:]M:]S``.

    >>> parse_time("10:00")
    600

    Raises:
        QsubError: it is not a time.
    """
    fields = text.split(":")
    if len(fields) > 4 or not all(field.isdecimal() for field in fields):
        raise QsubError(f"qsub: illegal -l value {text!r}: not a time", status=1)
    seconds = 0
    for field, unit in zip(reversed(fields), (1, 60, 3600, 86400), strict=False):
        seconds += int(field) * unit
    return seconds


def format_time(seconds: int) -> str:
    """Return ``HH:MM:SS``."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def resource_list(requested: Mapping[str, str]) -> str:
    """Return the text that the scripts of a mom see: order as given, defaults appended.

    >>> resource_list({"other": "x"})
    'other=x,nodes=1,walltime=01:00:00,neednodes=1'
    """
    entries = {name: value for name, value in requested.items() if value and name in _SENT}
    for name, value in _DEFAULTS:
        entries.setdefault(name, value)
    entries["neednodes"] = entries["nodes"]
    kept: list[str] = []
    left = _LARGEST
    for name, value in entries.items():
        entry = f"{name}={value}"
        size = len(entry.encode(errors="surrogateescape")) + 1
        if size <= left:
            kept.append(entry)
            left -= size
    return ",".join(kept)


def walltime(requested: Mapping[str, str]) -> int:
    """Return the job's limit in seconds."""
    return parse_time(requested.get("walltime") or dict(_DEFAULTS)["walltime"])
