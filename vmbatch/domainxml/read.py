"""A document against the table of tags: typed values with lines, or an error that says where."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from vmbatch.domainxml.tags import TAGS, Kind, Tag, Value
from vmbatch.domainxml.xml import Element, Tree, is_element, line_of, path_of
from vmbatch.errors import TemplateError

PREFIX = "vb"


@dataclass(frozen=True, slots=True)
class Place:
    """A file, for messages."""

    file: str

    def error(self, element: Element | int, message: str, hint: str) -> TemplateError:
        """Return the error for an element, or a line."""
        line = element if isinstance(element, int) else line_of(element)
        return TemplateError(f"{self.file}:{line}: {message}", hint=hint)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A tag that stands in a document.

    Args:
        element: where.
        values: its attributes as values.
        text: its text as a value; None if empty.
    """

    element: Element
    values: Mapping[str, Value]
    text: Value | None

    def word(self, name: str) -> str | None:
        """An attribute that holds text, None if it isn't there."""
        value = self.values.get(name)
        return None if value is None else str(value)

    def number(self, name: str) -> int | None:
        """An attribute that holds a number, None if it isn't there."""
        value = self.values.get(name)
        return value if isinstance(value, int) else None


class Tags:
    """All tags of a document, checked."""

    def __init__(self, tree: Tree, place: Place) -> None:
        self.place = place
        self._found = [(e, _check(e, place)) for e in vb_elements(tree)]
        for element in tree.iter():
            _check_no_stray_attribute(element, place)

    def inside(self, parent: Element, name: str) -> list[Found]:
        """Those of that name among the children of `parent`."""
        return [f for e, f in self._found if e.tag == name and e.getparent() is parent]

    def one(self, parent: Element | None, name: str) -> Found | None:
        """The one of that name in `parent`, None if there is none."""
        found = [] if parent is None else self.inside(parent, name)
        return found[0] if found else None


def vb_elements(tree: Tree) -> Iterator[Element]:
    """All elements that are ours by their name, known or not."""
    for element in tree.iter():
        if is_element(element) and str(element.tag).startswith(PREFIX):
            yield element


def suggest(word: str, known: Iterable[str]) -> str:
    """A hint with the likeliest of the known words, and all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if not known:
        return "it takes none"
    return (f"did you mean {near[0]}? " if near else "") + "known: " + ", ".join(known)


def _check(element: Element, place: Place) -> Found:
    name = str(element.tag)
    tag = TAGS.get(name)
    if tag is None:
        raise place.error(element, f"unknown tag <{name}>", suggest(name, TAGS))
    _check_place(element, tag, place)
    values = {str(key): _attribute(element, tag, str(key), place) for key in element.attrib}
    for key, attribute in tag.attributes.items():
        if attribute.required and key not in values:
            raise place.error(
                element,
                f"<{name}> lacks the attribute {key}",
                f"add {key}='…': {attribute.kind.expected}",
            )
    return Found(element=element, values=values, text=_text(element, tag, place))


def _check_place(element: Element, tag: Tag, place: Place) -> None:
    name, parent = str(element.tag), element.getparent()
    where = "" if parent is None else path_of(parent)
    if where != tag.parent:
        stands = f"in <{where}>" if where else "at the top"
        raise place.error(
            element,
            f"<{name}> stands {stands}, its place is elsewhere",
            f"put it into <{tag.parent}>",
        )
    twin = next(element.itersiblings(name, preceding=True), None)
    if twin is not None and not tag.many:
        raise place.error(
            element,
            f"<{name}> stands twice in <{tag.parent}>, also in line {line_of(twin)}",
            "keep one of them",
        )
    for child in element:
        if is_element(child) and not str(child.tag).startswith(PREFIX):
            raise place.error(
                child,
                f"<{child.tag}> stands in <{name}>",
                f"move it out: <{name}> is not libvirt's",
            )


def _attribute(element: Element, tag: Tag, key: str, place: Place) -> Value:
    name = str(element.tag)
    attribute = tag.attributes.get(key)
    if attribute is None:
        raise place.error(element, f"<{name}> has no attribute {key}", suggest(key, tag.attributes))
    text = (element.get(key) or "").strip()
    return _convert(element, f"{key} of <{name}>", text, attribute.kind, place)


def _text(element: Element, tag: Tag, place: Place) -> Value | None:
    name = str(element.tag)
    # Comments cut the text of an element into pieces.
    text = "".join([element.text or "", *(child.tail or "" for child in element)]).strip()
    if tag.text is None:
        if text:
            raise place.error(
                element, f"<{name}> holds the text {text!r}", "it has no text of its own"
            )
        return None
    if not text and not tag.text_required:
        return None
    return _convert(element, f"the text of <{name}>", text, tag.text, place)


def _convert(element: Element, what: str, text: str, kind: Kind, place: Place) -> Value:
    if not text:
        raise place.error(element, f"{what} is empty", f"allowed: {kind.expected}")
    try:
        return kind.convert(text)
    except ValueError:
        raise place.error(element, f"{what} is {text!r}", f"allowed: {kind.expected}") from None


def _check_no_stray_attribute(element: Element, place: Place) -> None:
    if not is_element(element) or str(element.tag).startswith(PREFIX):
        return
    for key in element.attrib:
        if str(key).startswith(PREFIX):
            raise place.error(
                element,
                f"<{element.tag}> has the attribute {key!s}",
                f"{PREFIX}* names are tags of their own; known: " + ", ".join(sorted(TAGS)),
            )
