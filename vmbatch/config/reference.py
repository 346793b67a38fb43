"""Make ``docs/site-file.md`` from the table: ``python -m vmbatch.config.reference > FILE``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from vmbatch.config.model import SECTIONS, Profile, Rule
from vmbatch.config.table import Key, keys

_HEAD = """\
# The site file

`/etc/vmbatch/vmbatch.yaml`, or what `$VMBATCH_CONFIG` names in the environment of the batch
system's daemon; what the variable names must be there. It is YAML; every key has a default, and
without the file all defaults hold. The file must be a plain file of root's, not a link and not
writable by group or others, in directories of which the same is true. Each key may be given once;
an unknown key is an error. Where a list is expected, a single entry may stand without brackets.

    vmbatch config check         what is wrong with the file, and with the files that it names
    vmbatch config show          every key, its value, and where the value comes from

A commented example is `contrib/vmbatch.yaml`. This page is made from the table of keys in
`vmbatch/config/model.py` by `python -m vmbatch.config.reference`.
"""

_PROFILES = """\
## profiles

Profiles by name, such as `profiles: {big: {ram: 8G}}`. The profile `default` is always there. What
another profile does not give, it has from `default`.
"""

_RULES = """\
## rules

A list; the first rule that holds for a job decides. A rule holds when all of its conditions
(`queue`, `user`, `group`, `asks`) do; a rule without conditions holds for every job. After the last
rule, a job that asks for a guest gets the profile that it names or else `default`, and all others
run on bare metal.

A rule with `profile: none` sends also those jobs to bare metal that ask for a guest, unless it
says `asks: false`. Where a job may choose among profiles, name them in `allow`; without a rule for
it, a job that asks may choose any.

`queue`, `user`, `group` and `allow` take one name or a list of them. A name with `*` at its end
stands for all names that begin so.
"""

_REQUEST = """\
## What a job may ask for

    qsub -l other=vbuserimage=IMAGE+vcpus=2+ram=1G+profile=big

Parts are joined with `+`; `vbuserimage:IMAGE` is the same as `vbuserimage=IMAGE`. In a value, write
`%2B` for `+`, `%2C` for `,` and `%25` for `%`. Each key may be given once.

| key | value | limit |
|---|---|---|
| `vbuserimage`, or what the template calls an image | name of an image in the store | `images` |
| `vcpus` | a whole number | `max_vcpus` |
| `ram` | a size such as `512M` or `2G`; without a letter MiB | `max_ram` |
| `profile` | name of a profile | `rules` |
"""


def reference() -> str:
    """Return the text of ``docs/site-file.md``."""
    parts = [_HEAD]
    for name, table in SECTIONS.items():
        parts.append(f"## {name}\n\n{table.__doc__}\n\n{_table(table)}")
    parts.append(f"{_PROFILES}\n{_table(Profile)}")
    parts.append(f"{_RULES}\n{_table(Rule)}")
    parts.append(_REQUEST)
    return "\n".join(parts)


def _table(table: type) -> str:
    rows = ["| key | default | value | meaning |", "|---|---|---|---|"]
    rows += ["| " + " | ".join(_cells(key)) + " |" for key in keys(table)]
    return "\n".join(rows) + "\n"


def _cells(key: Key) -> Iterator[str]:
    yield f"`{key.name}`"
    yield _default(key)
    yield f"a list: {key.kind.expects}" if key.kind.many else key.kind.expects
    nothing = f" `null`: {key.kind.empty}." if key.kind.empty else ""
    yield key.doc + nothing


def _default(key: Key) -> str:
    return "must be given" if key.required else f"`{key.kind.written(key.default)}`"


if __name__ == "__main__":
    sys.stdout.write(reference())
