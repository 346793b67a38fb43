"""The effective site file: every key with its value and where the value comes from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vmbatch.config.kinds import quoted
from vmbatch.config.model import SECTIONS, Profile, Rule, Site
from vmbatch.config.table import keys
from vmbatch.policy import DEFAULT_PROFILE

_COLUMN = 44


def as_yaml(site: Site) -> Iterator[str]:
    """Yield the lines of a site file that says in full what `site` is."""
    for name, table in SECTIONS.items():
        yield f"{name}:"
        for written, dotted in _entries(getattr(site, name), table, name):
            yield _line(f"  {written}", _origin(site, dotted))
    yield "profiles:"
    for profile in site.profiles.values():
        yield f"  {quoted(profile.name)}:"
        for written, dotted in _entries(profile, Profile, f"profiles.{profile.name}"):
            yield _line(f"    {written}", _origin_in_profile(site, dotted))
    yield "rules:" if site.rules else "rules: []"
    for number, rule in enumerate(site.rules):
        lead = "  - "
        for written, dotted in _entries(rule, Rule, f"rules[{number}]"):
            if dotted in site.lines:
                yield _line(f"{lead}{written}", _origin(site, dotted))
                lead = "    "


def _entries(values: Any, table: type, where: str) -> Iterator[tuple[str, str]]:
    """Yield (``key: value``, dotted name) of each key."""
    for key in keys(table):
        text = key.kind.written(getattr(values, key.attribute))
        yield f"{key.name}: {text}", f"{where}.{key.name}"


def _line(text: str, origin: str) -> str:
    return f"{text:<{_COLUMN}} # {origin}"


def _origin(site: Site, dotted: str) -> str:
    return f"{site.file}:{site.lines[dotted]}" if dotted in site.lines else "default"


def _origin_in_profile(site: Site, dotted: str) -> str:
    if dotted not in site.lines:
        dotted = f"profiles.{DEFAULT_PROFILE}.{dotted.rpartition('.')[2]}"
    return _origin(site, dotted)
