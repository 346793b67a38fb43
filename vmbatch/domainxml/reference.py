"""The text of ``docs/tags.md``, from the tables of tags and steps.

Make it anew with: ``python -m vmbatch.domainxml.reference > docs/tags.md``
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from vmbatch.domainxml.render import STEPS
from vmbatch.domainxml.tags import TAGS, Attribute, Tag

_HEAD = """\
# The domain template

<!-- Made from the code's own tables: python -m vmbatch.domainxml.reference > docs/tags.md -->

A template is a libvirt domain XML with `vb*` tags; `templates-vm/linux.xml` is one to copy. The
tags are removed before libvirt sees the document. All else that the administrator wrote stays,
comments and order too, but for what the table at the end says. A tag that is not listed here, that
stands elsewhere or twice, or that has a bad value is an error with its file and line. What is
inside a `vb*` tag, comments too, goes with it.

A template belongs to root, and nobody else can write to it: it may name any file of the node. It
has no `DOCTYPE`, and at most 1 MiB.

## Tags
"""

_RULES = """
## What is put in, and what is kept

| element | rule |
|---|---|
"""


def text() -> str:
    """Return the whole page."""
    tags = "".join("".join(_tag(name, tag)) for name, tag in TAGS.items())
    rules = "".join(f"| {step.what} | {step.rule} |\n" for step in STEPS)
    return _HEAD + tags + _RULES + rules


def _tag(name: str, tag: Tag) -> Iterator[str]:
    yield f"\n### `{name}`\n\nIn `<{tag.parent.replace('/', '><')}>`"
    yield ", as often as needed. " if tag.many else ", at most once. "
    yield f"{tag.doc}\n"
    if tag.text is not None:
        need = "" if tag.text_required else " or nothing"
        yield f"\nText: {tag.text.expected}{need}.\n"
    if tag.attributes:
        yield "\n| attribute | allowed | meaning |\n|---|---|---|\n"
        yield from (_attribute(key, value) for key, value in tag.attributes.items())


def _attribute(key: str, attribute: Attribute) -> str:
    need = " (required)" if attribute.required else ""
    return f"| `{key}`{need} | {attribute.kind.expected} | {attribute.doc} |\n"


if __name__ == "__main__":
    sys.stdout.write(text())
