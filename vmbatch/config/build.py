"""From YAML nodes to the values of the table of keys."""

from __future__ import annotations

from collections.abc import Mapping

from vmbatch.config.document import Document, is_null, line_of, scalar_text, shape
from vmbatch.config.kinds import Kind
from vmbatch.config.model import PROFILE_NAME, SECTIONS, Profile, Rule
from vmbatch.config.table import Key, keys
from vmbatch.policy import DEFAULT_PROFILE

TYPE_CHECKING = False  # typing takes 3 ms to import
if TYPE_CHECKING:
    from typing import Any

    from yaml.nodes import Node


def build(document: Document, root: Node | None) -> dict[str, Any]:
    """Return the attributes of `Site` that a site file gives; problems go to `document`."""
    found: dict[str, Any] = {}
    if root is None:
        return found
    allowed = (*SECTIONS, "profiles", "rules")
    for name, dotted, node in document.mapping(root, "", allowed):
        if name == "profiles":
            found[name] = _profiles(document, node)
        elif name == "rules":
            found[name] = tuple(_rules(document, node))
        else:
            section = SECTIONS[name]
            found[name] = section(**_values(document, node, dotted, section))
    return found


def _values(document: Document, node: Node, where: str, table: type) -> dict[str, Any]:
    """Return the attributes that a mapping gives for a dataclass of keys."""
    known = {key.name: key for key in keys(table)}
    values: dict[str, Any] = {}
    for name, dotted, value in document.mapping(node, where, known):
        _set(values, document, known[name], value, dotted)
    return values


def _set(values: dict[str, Any], document: Document, key: Key, node: Node, dotted: str) -> None:
    before = len(document.problems)
    value = _value(document, node, dotted, key.kind)
    if len(document.problems) == before:
        values[key.attribute] = value


def _value(document: Document, node: Node, dotted: str, kind: Kind) -> Any:
    if not kind.many:
        return _scalar(document, node, dotted, kind)
    entries = document.scalars(node, dotted, kind.expects)
    return tuple(_scalar(document, entry, dotted, kind) for entry in entries)


def _scalar(document: Document, node: Node, dotted: str, kind: Kind) -> Any:
    if is_null(node) and kind.empty:
        return None
    text = scalar_text(node)
    try:
        if text is None:
            raise ValueError
        return kind.parse(text)
    except ValueError:
        shown = "a value of another shape" if text is None else ascii(text)
        if is_null(node):
            shown = "nothing"
        document.complain(line_of(node), dotted, f"found {shown}, expected {kind.expects}")
        return None


def _profiles(document: Document, node: Node) -> Mapping[str, Profile]:
    """Build the profiles: each has what it gives itself, and the rest from ``default``."""
    given: dict[str, dict[str, Any]] = {DEFAULT_PROFILE: {}}
    for name, dotted, value in document.mapping(node, "profiles"):
        given[name] = _values(document, value, dotted, Profile)
        if not PROFILE_NAME.fullmatch(name):
            document.complain(
                document.lines[dotted],
                dotted,
                "not fit as a name: expected letters, digits, _ - and not none",
            )
    base = given[DEFAULT_PROFILE]
    return {name: Profile(name=name, **{**base, **values}) for name, values in given.items()}


def _rules(document: Document, node: Node) -> list[Rule]:
    if is_null(node):
        return []
    if shape(node) != "sequence":
        document.complain(line_of(node), "rules", "expected a list of rules", "begin each with -")
        return []
    rules = []
    for number, entry in enumerate(node.value):
        where = f"rules[{number}]"
        document.lines[where] = line_of(entry)
        before = len(document.problems)
        values = _values(document, entry, where, Rule)
        if len(document.problems) > before:
            continue
        if "profile" not in values:
            document.complain(
                line_of(entry), where, "has no profile", "add profile: NAME, or profile: none"
            )
            continue
        if values["profile"] == "none":
            values["profile"] = None
        rules.append(Rule(**values))
    return rules
