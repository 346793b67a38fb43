"""The one XML parser, and edits in place that keep what the administrator wrote."""

from __future__ import annotations

from lxml import etree

from vmbatch.errors import TemplateError

Element = etree._Element
Tree = etree._ElementTree

MAX_BYTES = 1 << 20

# libvirt's order, for what is added under the root. The schema allows any order, but libxml2, by
# which libvirt validates, takes a document for invalid where kin stand apart.
_ORDER = (
    *("name", "uuid", "metadata", "memory", "currentMemory", "vcpu", "os", "features", "cpu"),
    *("clock", "on_poweroff", "on_reboot", "on_crash", "devices", "seclabel"),
)
_KIN = (
    ("name", "uuid", "genid"),
    ("on_poweroff", "on_reboot", "on_crash", "on_lockfailure"),
)


def parse_document(data: bytes, place: str) -> Tree:
    """Parse one document: no entities, no network, no DTD, at most 1 MiB.

    Args:
        data: the document.
        place: its file name, for messages.

    Raises:
        TemplateError: it is too large, not well-formed, or has a DOCTYPE.
    """
    if len(data) > MAX_BYTES:
        raise TemplateError(
            f"{place}: {len(data)} bytes are too much for a domain template",
            hint=f"a template has at most {MAX_BYTES} bytes",
        )
    # A parser keeps the errors of what it parsed last: each document gets its own.
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=False,
        remove_pis=False,
        strip_cdata=False,
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        line, column = error.position
        raise TemplateError(
            f"{place}:{line}: not well-formed XML at column {column}: {error.msg}",
            hint="check the file with: xmllint --noout FILE",
        ) from None
    tree = root.getroottree()
    if tree.docinfo.internalDTD is not None:
        raise TemplateError(
            f"{place}: a DOCTYPE is not allowed", hint="remove the <!DOCTYPE …> from the file"
        )
    return tree


def is_element(node: Element) -> bool:
    """Whether a node is an element: comments and instructions have no text as their tag."""
    return isinstance(node.tag, str)


def line_of(element: Element) -> int:
    """The line where an element began in its file; 0 if it came from no file."""
    line = element.sourceline
    return line if isinstance(line, int) else 0


def path_of(element: Element) -> str:
    """Names from the root to the element, such as ``domain/devices/disk``."""
    names = [element.tag, *(above.tag for above in element.iterancestors())]
    return "/".join(reversed([str(name) for name in names]))


def remove(element: Element) -> None:
    """Take an element out; the text and comments around it stay."""
    parent = element.getparent()
    if parent is None:
        return
    before = element.getprevious()
    lead = (parent.text if before is None else before.tail) or ""
    tail = element.tail or ""
    # Where only indentation is left of it, keep that of the next line alone.
    text = lead + tail if lead.strip() else tail
    parent.remove(element)
    if before is None:
        parent.text = text
    else:
        before.tail = text


def append(parent: Element, child: Element) -> Element:
    """Put `child` into `parent`, indented by two blanks a level.

    Its place is the end; under the root that of libvirt's own order, see `_ORDER`.
    """
    depth = sum(1 for _ in parent.iterancestors())
    indent = "\n" + "  " * (depth + 1)
    etree.indent(child, level=depth + 1)
    follower = _follower(parent, child) if depth == 0 else None
    before = _last(parent) if follower is None else follower.getprevious()
    gap = (parent.text if before is None else before.tail) or ""
    if not gap.strip():
        if before is None:
            parent.text = indent
        else:
            before.tail = indent
    if follower is None:
        parent.append(child)
        child.tail = "\n" + "  " * depth
    else:
        follower.addprevious(child)
        child.tail = indent if gap.strip() else gap
    return child


def _last(parent: Element) -> Element | None:
    return parent[-1] if len(parent) else None


def _follower(root: Element, child: Element) -> Element | None:
    """The node under the root that `child` goes before: an element, or the comments above it."""
    name = str(child.tag)
    if name not in _ORDER:
        return None
    kin = next((group for group in _KIN if name in group), ())
    last = next((e for e in reversed(root) if e.tag in kin), None)
    if last is not None:
        return last.getnext()
    later = _ORDER[_ORDER.index(name) + 1 :]
    node = next((e for e in root if e.tag in later), None)
    while node is not None:
        above = node.getprevious()
        if above is None or is_element(above):
            break
        node = above
    return node


def set_all(element: Element, **attributes: str) -> None:
    """Set attributes."""
    for name, value in attributes.items():
        element.set(name, value)


def set_missing(element: Element, **attributes: str) -> None:
    """Set those attributes that the element has not got."""
    for name, value in attributes.items():
        if element.get(name) is None:
            element.set(name, value)


def drop(element: Element, *names: str) -> None:
    """Take attributes away."""
    for name in names:
        if element.get(name) is not None:
            del element.attrib[name]


def add(parent: Element, tag: str, text: str | None = None, /, **attributes: str) -> Element:
    """Make a child of `parent` at its end and return it."""
    child = etree.Element(tag)
    set_all(child, **attributes)
    child.text = text
    return append(parent, child)


def ensure(parent: Element, name: str) -> Element:
    """Return the first child of that name, made if there is none."""
    found = parent.find(name)
    return add(parent, name) if found is None else found


def set_text(parent: Element, name: str, text: str) -> Element:
    """Give the first child of that name, made if there is none, this text alone."""
    child = ensure(parent, name)
    for inner in list(child):
        child.remove(inner)
    child.text = text
    return child
