"""The `vb*` tags as one table, from which checks, removal and documentation come.

A tag is added by a `Tag` in `TAGS`, and by a line in `vmbatch.domainxml.model` for the value that
it carries. What is not in the table is an error; what is in it is removed before libvirt sees it.

The names are those of the VmBatch domain XML (B. Kileng, "VmBatch", 2015).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Value = str | int


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What a text may hold.

    Args:
        expected: the allowed values in words, for messages and documentation.
        convert: from the stripped text to its value; raises ValueError.
    """

    expected: str
    convert: Callable[[str], Value]


def choice(*words: str, **synonyms: str) -> Kind:
    """One of some words; `synonyms` are other spellings of them, with ``_`` for ``-``."""
    spellings = {name.replace("_", "-"): word for name, word in synonyms.items()}
    names = {**{word: word for word in words}, **spellings}

    def convert(text: str) -> str:
        if text not in names:
            raise ValueError(text)
        return names[text]

    others = [f"{name} (= {word})" for name, word in spellings.items()]
    return Kind(expected=", ".join([*words, *others]), convert=convert)


def integer(low: int, high: int, unit: str) -> Kind:
    """A decimal number without sign, within bounds."""

    def convert(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise ValueError(text)
        return int(text)

    return Kind(expected=f"a number of {unit} from {low} to {high}", convert=convert)


def pattern(expression: str, expected: str) -> Kind:
    """A text that matches an expression as a whole."""

    def convert(text: str) -> str:
        if not re.fullmatch(expression, text):
            raise ValueError(text)
        return text

    return Kind(expected=expected, convert=convert)


@dataclass(frozen=True, kw_only=True, slots=True)
class Attribute:
    """One attribute of a tag."""

    kind: Kind
    doc: str
    required: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Tag:
    """One tag.

    Args:
        parent: path of the element that it stands in, from the root.
        doc: what it means, a sentence or two of Markdown.
        attributes: by name.
        text: what its text may hold; None if it has none.
        text_required: whether the text may not be empty.
        many: whether it may stand more than once in one parent.
    """

    parent: str
    doc: str
    attributes: Mapping[str, Attribute]
    text: Kind | None = None
    text_required: bool = True
    many: bool = False


_DISK = "domain/devices/disk"
_KEY = pattern(r"[a-z][a-z0-9_]{0,31}", "a lower-case word of letters, digits and underscores")
_SOURCE = pattern(r"[^\x00-\x1f]{1,4096}", "the name of an image of the store")

TAGS: Mapping[str, Tag] = {
    "vbconfig": Tag(
        parent="domain",
        doc="Holds the settings of the whole template. It may be left out.",
        attributes={},
    ),
    "vbpreparemethod": Tag(
        parent="domain/vbconfig",
        doc="How the guest is told its job: `CDROM` by a disc, see `vbpreparecdrom`. The default "
        "is `CDROM`.",
        attributes={},
        text=choice("CDROM"),
    ),
    "vbhypervisor": Tag(
        parent="domain/vbconfig",
        doc="The hypervisor: `KVM` demands the processor's own virtualization, `QEMU` emulates. "
        "Without it, the node's accelerator is used. `XEN3` and `XEN4` are read, and refused by "
        "a node without Xen.",
        attributes={},
        text=choice("KVM", "QEMU", "XEN3", "XEN4"),
    ),
    "vbdisksource": Tag(
        parent=_DISK,
        doc="Where the disk's contents come from. Each job gets its own disk; `<source>` is "
        "filled in.",
        attributes={
            "source": Attribute(
                kind=_SOURCE,
                doc="What to start from. It may be left out beside `vbuserimage` (the submitter "
                "must then name an image) or with `create`.",
            ),
            "copy_method": Attribute(
                kind=choice("shared", "download"),
                doc="`shared`, the default: the image is in the store once, for all jobs. "
                "`download` is read, and refused when a job asks for the template.",
            ),
            "size": Attribute(
                kind=integer(1, 1 << 26, "MiB"), doc="Size of a disk that is made empty."
            ),
            "create": Attribute(
                kind=choice("always", "once"),
                doc="`always`: an empty disk for each job. Needs `size`. `once` is read, and "
                "refused when a job asks for the template.",
            ),
            "format": Attribute(
                kind=choice("qcow2", "raw", "vpc", vhd="vpc", vhd_util_vhd="vpc"),
                doc="Format of the source, or of the disk that is made.",
            ),
        },
    ),
    "vbpreparecdrom": Tag(
        parent=_DISK,
        doc="This disk is the disc that tells the guest its job. One disk of a template has it; "
        "the disk is made read-only.",
        attributes={
            "source": Attribute(
                kind=pattern(r"[^\x00-\x1f]{1,255}", "a file name"),
                doc="Read for compatibility. The file is in the job's own directory, whatever it "
                "says.",
            )
        },
    ),
    "vbuserimage": Tag(
        parent=_DISK,
        doc="The submitter may name this disk's image: `-l other=vbuserimage=IMAGE`. The text, "
        "or the attribute `name`, is another key in place of `vbuserimage`. A disk without the "
        "tag can't be replaced. Without `vbdisksource` beside it, the image that it stands for "
        "is that of `<source file=…/>`.",
        attributes={"name": Attribute(kind=_KEY, doc="The key; the same as the tag's text.")},
        text=_KEY,
        text_required=False,
    ),
}
