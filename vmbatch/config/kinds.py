"""The kinds of value that a key of the site file can have."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from vmbatch.size import format_size, parse_size

TYPE_CHECKING = False  # typing takes 3 ms to import
if TYPE_CHECKING:
    from typing import Any

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_YAML_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
_FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """How a value is read, written and described.

    Args:
        expects: what may stand there, for messages and documentation.
        parse: from the text of a YAML scalar to the value; ValueError where it can't be.
        render: from the value to YAML text.
        many: a list of such values, or a single one.
        empty: what no value (``null``) stands for; where this is "", a value is demanded.
    """

    expects: str
    parse: Callable[[str], Any]
    render: Callable[[Any], str]
    many: bool = False
    empty: str = ""

    def or_none(self, meaning: str) -> Kind:
        """Return this kind with None as one more value, which stands for `meaning`."""
        return replace(self, empty=meaning)

    def list(self) -> Kind:
        """Return the kind of a list of such values."""
        return replace(self, many=True)

    def written(self, value: object) -> str:
        """Write a value as YAML.

        >>> whole(1, 9).or_none("any").written(None), name("[a-z]*", "a word").written("off")
        ('null', '"off"')
        """
        if isinstance(value, tuple):
            return f"[{', '.join(self.render(entry) for entry in value)}]"
        return "null" if value is None else self.render(value)


def name(pattern: str, expects: str) -> Kind:
    """Text that is matched as a whole by a regular expression."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(text)
        return text

    return Kind(expects=expects, parse=parse, render=quoted)


def whole(least: int, most: int) -> Kind:
    """A whole number."""

    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(text)
        return int(text)

    return Kind(expects=f"a whole number from {least} to {most}", parse=parse, render=str)


def seconds(least: float, most: float) -> Kind:
    """A span of time."""

    def parse(text: str) -> float:
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) or not least <= float(text) <= most:
            raise ValueError(text)
        return float(text)

    expects = f"seconds from {least:g} to {most:g}"
    return Kind(expects=expects, parse=parse, render=lambda value: f"{value:g}")


def flag() -> Kind:
    """True or false."""
    return Kind(
        expects="true or false",
        parse=lambda text: _one_of(_FLAGS, text.lower()),
        render=lambda value: "true" if value else "false",
    )


def choice(*options: str) -> Kind:
    """One of a few words."""
    return Kind(
        expects=f"one of {', '.join(options)}",
        parse=lambda text: _one_of({option: option for option in options}, text),
        render=quoted,
    )


def path() -> Kind:
    """An absolute path."""

    def parse(text: str) -> Path:
        found = Path(text)
        if not text.isprintable() or not found.is_absolute() or ".." in found.parts:
            raise ValueError(text)
        return found

    return Kind(expects="an absolute path", parse=parse, render=lambda value: quoted(str(value)))


def size() -> Kind:
    """Memory, kept in MiB."""
    return Kind(
        expects="a size from 1M to 64T such as 512M or 2G", parse=parse_size, render=format_size
    )


def _one_of(options: dict[str, Any], text: str) -> Any:
    if text not in options:
        raise ValueError(text)
    return options[text]


def quoted(text: str) -> str:
    """Write text as a YAML scalar, quoted where it could be taken for something else.

    >>> quoted("linux.xml"), quoted("no"), quoted("*")
    ('linux.xml', '"no"', '"*"')
    """
    if _PLAIN.fullmatch(text) and text.lower() not in _YAML_WORDS:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
