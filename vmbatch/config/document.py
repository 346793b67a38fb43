"""The site file as YAML nodes that know their lines, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

TYPE_CHECKING = False  # typing takes 3 ms to import
if TYPE_CHECKING:
    from yaml.events import Event
    from yaml.nodes import Node

_DEEPEST = 20
_STANDARD = "tag:yaml.org,2002:"
_WORDS = {f"{_STANDARD}{tag}" for tag in ("str", "int", "float", "bool", "timestamp", "value")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong in the site file.

    Args:
        file: the site file.
        line: where, counted from 1; 0 where it concerns the whole file.
        key: dotted name of the key, may be empty.
        text: what is wrong, and what was expected.
        hint: the cure, where it can be guessed.
    """

    file: str
    line: int
    key: str
    text: str
    hint: str = ""

    def __str__(self) -> str:
        """One line, such as ``/etc/vmbatch/vmbatch.yaml:3: network: unknown key``."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.text}" if self.key else f"{place}: {self.text}"


@dataclass(kw_only=True, slots=True)
class Document:
    """What has been seen of the site file so far: problems, and the line of each key.

    Args:
        file: the site file.
        problems: what is wrong.
        lines: line of each key, by dotted name.
    """

    file: str
    problems: list[Problem] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)

    def complain(self, line: int, key: str, text: str, hint: str = "") -> None:
        """Note a problem."""
        self.problems.append(Problem(file=self.file, line=line, key=key, text=text, hint=hint))

    def compose(self, text: str) -> Node | None:
        """Return the root node of the YAML text, None where it is empty or broken."""
        import yaml  # 18 ms, which a node without a site file need not spend

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            if self._too_deep(yaml.parse(text, Loader=loader)):
                return None
            return yaml.compose(text, Loader=loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self.complain(mark.line + 1 if mark else 0, "", f"not YAML: {error.problem}")
        except yaml.YAMLError as error:
            self.complain(0, "", f"not YAML: {str(error).splitlines()[0]}")
        return None

    def _too_deep(self, events: Iterator[Event]) -> bool:
        """Refuse what is nested deeper than any site file: composing it can exhaust the stack."""
        from yaml import CollectionEndEvent, CollectionStartEvent

        depth = 0
        for event in events:
            depth += isinstance(event, CollectionStartEvent)
            depth -= isinstance(event, CollectionEndEvent)
            if depth > _DEEPEST:
                line = event.start_mark.line + 1 if event.start_mark else 0
                self.complain(line, "", f"nested deeper than {_DEEPEST} levels")
                return True
        return False

    def mapping(
        self, node: Node, where: str, allowed: Collection[str] | None = None
    ) -> Iterator[tuple[str, str, Node]]:
        """Yield (key, dotted name, value) of a mapping; what is no such entry is a problem.

        Args:
            node: what should be a mapping.
            where: its dotted name, "" for the root.
            allowed: the keys that may be there; None: any.
        """
        if is_null(node):
            return
        if shape(node) != "mapping" or node.tag != f"{_STANDARD}map":
            self.complain(line_of(node), where, "expected keys with values")
            return
        for key_node, value in node.value:
            name = key_node.value if shape(key_node) == "scalar" else None
            line = line_of(key_node)
            if name is None:
                self.complain(line, where, "expected a word as a key")
                continue
            dotted = f"{where}.{name}" if where else name
            if allowed is not None and name not in allowed:
                self.complain(line, dotted, "unknown key", _suggestion(name, allowed))
            elif dotted in self.lines:
                self.complain(
                    line, dotted, f"given twice, first in line {self.lines[dotted]}", "remove one"
                )
            else:
                self.lines[dotted] = line
                yield name, dotted, value

    def scalars(self, node: Node, where: str, expects: str) -> Iterator[Node]:
        """Yield the scalars of a list, or the one that stands in its place."""
        if is_null(node):
            self.complain(line_of(node), where, f"has no value, expected a list: {expects}")
        elif shape(node) == "sequence":
            yield from node.value
        else:
            yield node


def line_of(node: Node) -> int:
    """Return a node's line, counted from 1."""
    return int(node.start_mark.line) + 1


def scalar_text(node: Node) -> str | None:
    """Return the text of a scalar as it is written, None for anything else.

    The text, not YAML's idea of it: ``mode: off`` is a word here, and ``name: 010`` is no octal.
    """
    if shape(node) == "scalar" and node.tag in _WORDS:
        return str(node.value)
    return None


def shape(node: Node) -> str:
    """Return ``scalar``, ``sequence`` or ``mapping``."""
    return str(node.id)  # type: ignore[attr-defined]  # PyYAML's stubs leave it out


def is_null(node: Node) -> bool:
    """Tell whether nothing stands there, or ``null``, or ``~``."""
    return shape(node) == "scalar" and str(node.tag) == f"{_STANDARD}null"


def _suggestion(name: str, allowed: Collection[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, allowed, 1)
    guess = f"did you mean {near[0]}? " if near else ""
    return f"{guess}allowed are: {', '.join(allowed)}"
