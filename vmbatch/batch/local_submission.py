"""What is submitted to the embedded batch system: options, ``#PBS`` lines, script."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vmbatch.batch.local_resources import QsubError, parse_resources
from vmbatch.job import Owner

_DIRECTIVE = re.compile(r"#PBS[ \t]+(-.*)")
_WITH_VALUE = "aAbcCdDeFjkKlLmMNopPqrStTuvwW"
"""Letters of qsub's options that take a value."""


_SINGLES = {"q": "queue", "A": "account", "F": "arguments", "d": "directory", "j": "join"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """One job as its owner submits it.

    Args:
        owner: whose job it is.
        script: the text of the script; None: an interactive job.
        name: ``-N``.
        queue: ``-q``.
        account: ``-A``.
        resources: ``-l``, by name.
        variables: ``-v``, by name.
        arguments: what the script gets; a mom puts it on one line.
        directory: ``-d``, or None: the owner's home.
        shell: ``-S``, or None: the owner's login shell.
        join: ``-j``: ``oe``, ``eo`` or ``n``.
        workdir: where it was submitted.
        own_input: whether the job's standard input is the submitter's.
    """

    owner: Owner
    script: bytes | None
    name: str = "STDIN"
    queue: str = "batch"
    account: str = ""
    resources: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    arguments: str = ""
    directory: str | None = None
    shell: str | None = None
    join: str = "n"
    workdir: str = "/"
    own_input: bool = False

    @property
    def interactive(self) -> bool:
        """Whether the job is a terminal."""
        return self.script is None


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Options of qsub, those that are not given None or empty."""

    name: str | None = None
    queue: str | None = None
    account: str | None = None
    resources: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    arguments: str | None = None
    directory: str | None = None
    shell: str | None = None
    join: str | None = None

    def over(self, other: Options) -> Options:
        """Return these options, completed by `other`: the command line wins over the script."""
        singles = ("name", "queue", "account", "arguments", "directory", "shell", "join")
        chosen = {key: getattr(self, key) or getattr(other, key) for key in singles}
        return Options(
            resources={**other.resources, **self.resources},
            variables={**other.variables, **self.variables},
            **chosen,
        )


def parse_options(words: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Parse options that qsub takes; those that mean nothing on one node are passed over.

    Raises:
        QsubError: qsub would refuse them.
    """
    options = Options()
    left = list(words)
    while left:
        word = left.pop(0)
        letter = word[1:2]
        if not word.startswith("-") or not letter.isalpha():
            raise QsubError(f"qsub: usage: {word!r} is not an option", status=2)
        if letter not in _WITH_VALUE:
            continue
        value = word[2:] or (left.pop(0) if left else "")
        options = _with(options, letter, value, environ)
    return options


def _with(options: Options, letter: str, value: str, environ: Mapping[str, str]) -> Options:
    match letter:
        case "l":
            return replace(options, resources={**options.resources, **parse_resources(value)})
        case "v":
            more = parse_variables(value, environ)
            return replace(options, variables={**options.variables, **more})
        case "N":
            return replace(options, name=check_name(value))
        case "S":
            return replace(options, shell=check_shell(value))
        case "q" | "A" | "F" | "d" | "j":
            single: dict[str, Any] = {_SINGLES[letter]: value}
            return replace(options, **single)
    return options


def script_options(script: bytes, environ: Mapping[str, str]) -> Options:
    """Read the ``#PBS`` lines before a script's first command; quotes go before they are read.

    Raises:
        QsubError: qsub would refuse one.
    """
    options = Options()
    for number, line in enumerate(script.decode(errors="surrogateescape").splitlines()):
        if not line.strip() or (number == 0 and line.startswith("#!")):
            continue
        found = _DIRECTIVE.match(line)
        if found:
            options = parse_options(_split(found[1]), environ).over(options)
        elif not line.lstrip().startswith("#"):
            break
    return options


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        raise QsubError(f"qsub: unmatched quote in #PBS {text}", status=2) from None


def parse_variables(text: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Parse ``-v``: a comma always separates, so that a value ends at it.

    >>> parse_variables("A=1,B=x=y,C", {"C": "3"})
    {'A': '1', 'B': 'x=y', 'C': '3'}
    """
    found = {}
    for entry in text.split(","):
        name, equals, value = entry.partition("=")
        if name:
            found[name] = value if equals else environ.get(name, "")
    return found


def check_name(name: str) -> str:
    """Return a job's name as qsub would take it.

    Raises:
        QsubError: it holds a blank, or is empty.
    """
    if not name or not name.isprintable() or " " in name:
        raise QsubError("qsub: illegal -N value", status=2)
    return name


def check_shell(path: str) -> str:
    """Return a shell's path as qsub would take it.

    Raises:
        QsubError: it is relative or has arguments.
    """
    if not path.startswith("/") or " " in path:
        raise QsubError("qsub: illegal -S value", status=2)
    return path
