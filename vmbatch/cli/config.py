"""``vmbatch config``: what the site file says, and what is wrong with it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vmbatch.config.checks import named_files
from vmbatch.config.load import line_near, load_site, read_site, site_file
from vmbatch.config.show import as_yaml
from vmbatch.errors import ConfigError

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``config`` with its verbs ``show`` and ``check``."""
    config = subparsers.add_parser("config", help="show or check the site file")
    verbs = config.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, run, text in (
        ("show", show, "print every key, its value, and where the value comes from"),
        ("check", check, "print what is wrong with the site file and the files that it names"),
    ):
        verb = verbs.add_parser(name, help=text, description=text)
        verb.add_argument(
            "file", nargs="?", type=Path, metavar="FILE", help="another site file than the node's"
        )
        verb.set_defaults(run=run)


def show(arguments: argparse.Namespace) -> int:
    """Print the effective site file as YAML."""
    for line in as_yaml(load_site(_named(arguments))):
        print(line)
    return 0


def check(arguments: argparse.Namespace) -> int:
    """Print all problems, a line each; 0 where there is none."""
    try:
        problems = list(_problems(_named(arguments)))
    except ConfigError as error:
        problems = [str(error)]
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        file = arguments.file or site_file()
        print(f"{file}: {'ok' if file.exists() else 'not there, so all defaults hold'}")
    return 1 if problems else 0


def _problems(path: Path | None) -> list[str]:
    file = (path or site_file()).absolute()
    site, found = read_site(file)
    problems = [
        f"{problem}\n  hint: {problem.hint}" if problem.hint else str(problem) for problem in found
    ]
    if not found:
        load_site(path)  # it is stricter about a file that VMBATCH_CONFIG names
    for key, text in named_files(site):
        line = line_near(site, key)
        place = f"{file}:{line}" if line else f"{file}"
        problems.append(f"{place}: {key}: {text}")
    return problems


def _named(arguments: argparse.Namespace) -> Path | None:
    """Return the file of the command line, which has to be there."""
    path: Path | None = arguments.file
    if path is not None and not path.exists():
        raise ConfigError(
            f"there is no {path}", hint="name a site file, or none for the node's own"
        )
    return path
