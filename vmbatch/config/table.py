"""How a dataclass becomes a part of the site file's table of keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields

from vmbatch.config.kinds import Kind

TYPE_CHECKING = False  # typing takes 3 ms to import
if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One key of the site file.

    Args:
        name: as it is written in the site file.
        attribute: the dataclass's attribute.
        kind: what may stand there.
        doc: what it does, in a sentence or two.
        default: where the site file does not have it; `dataclasses.MISSING`: it must.
    """

    name: str
    attribute: str
    kind: Kind
    doc: str
    default: Any

    @property
    def required(self) -> bool:
        """Whether the site file must have it."""
        return self.default is MISSING


def key(kind: Kind, doc: str, *, default: Any = MISSING, name: str = "") -> Any:
    """Declare an attribute of a dataclass that is a key of the site file.

    Args:
        kind: what may stand there.
        doc: what it does.
        default: its value where the site file does not have it.
        name: how it is written there, where this differs from the attribute's name.
    """
    return field(default=default, metadata={"kind": kind, "doc": doc, "name": name})


def keys(table: type) -> Iterator[Key]:
    """Yield the keys that a dataclass declares, in their order."""
    for entry in fields(table):
        if "kind" in entry.metadata:
            yield Key(
                name=entry.metadata["name"] or entry.name,
                attribute=entry.name,
                kind=entry.metadata["kind"],
                doc=entry.metadata["doc"],
                default=entry.default,
            )
