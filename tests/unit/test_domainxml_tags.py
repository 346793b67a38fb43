from __future__ import annotations

import re

import pytest
from domainxml_samples import LINUX, ROOT, domain, linux

from vmbatch.domainxml import model, reference
from vmbatch.domainxml.parse import parse_template_text
from vmbatch.domainxml.read import suggest
from vmbatch.domainxml.render import STEPS
from vmbatch.domainxml.tags import TAGS, Attribute, Tag, choice, integer
from vmbatch.errors import TemplateError

pytestmark = pytest.mark.unit


def test_the_page_is_that_of_the_tables() -> None:
    """After a wanted change: python -m vmbatch.domainxml.reference > docs/tags.md."""
    assert (ROOT / "docs" / "tags.md").read_text() == reference.text()


def test_the_page_has_every_tag_attribute_and_rule() -> None:
    page = reference.text()
    for name, tag in TAGS.items():
        assert f"### `{name}`" in page
        assert tag.doc in page
        for key, attribute in tag.attributes.items():
            assert re.search(rf"\| `{key}`.*{re.escape(attribute.doc)}", page)
    for step in STEPS:
        assert f"| {step.what} | {step.rule} |" in page


def test_the_default_template_shows_the_chains_tags() -> None:
    text = LINUX.read_text()
    for name in TAGS:
        assert f"<{name}" in text
    assert linux().path == LINUX


def test_a_tag_is_a_few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    tag = Tag(
        parent="domain/vbconfig",
        doc="A new tag.",
        attributes={
            "strip": Attribute(kind=integer(0, 9, "parts"), doc="How many.", required=True)
        },
        many=True,
    )
    monkeypatch.setitem(TAGS, "vbnew", tag)  # type: ignore[misc]
    text = domain(top="<vbconfig><vbnew strip='1'/><vbnew strip='2'/></vbconfig>")
    assert parse_template_text(text.encode(), LINUX).prepare_method == model.DEFAULT_METHOD
    with pytest.raises(TemplateError, match="lacks the attribute"):
        parse_template_text(text.replace("strip='2'", "").encode(), LINUX)
    assert "### `vbnew`" in reference.text()
    assert "`strip` (required) | a number of parts from 0 to 9" in reference.text()


def test_kinds() -> None:
    kind = choice("a", "b", see_also="a")
    assert [kind.convert(text) for text in ("a", "b", "see-also")] == ["a", "b", "a"]
    assert kind.expected == "a, b, see-also (= a)"
    number = integer(1, 10, "things")
    assert number.convert("010") == 10
    for text in ("0", "11", "-1", "1.5", "", "1e1", "٣", "9" * 30):
        with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
            number.convert(text)


def test_suggestions() -> None:
    assert suggest("vbdisksorce", TAGS).startswith("did you mean vbdisksource? known: vbconfig,")
    assert suggest("qqq", ["abc"]) == "known: abc"
