"""`vmbatch doctor`: whether a job could run on this node, and if not, what mends it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable
from typing import Any

from vmbatch.doctor.finding import Finding, Level, can_run

_COLOURS = {Level.OK: "32", Level.WARN: "33", Level.FAIL: "31"}


def add_parser(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "doctor",
        help="check whether a job could run on this node",
        description="Checks this node, and prints for each point ok, warn or fail, and the cure. "
        "Exits 1 when a job could not run.",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from vmbatch.doctor.examination import examine

    return report(examine(), as_json=arguments.json, colours=sys.stdout.isatty())


def report(findings: Iterable[Finding], *, as_json: bool, colours: bool) -> int:
    """Print findings and return the exit status."""
    seen = []
    for finding in findings:
        seen.append(finding)
        if not as_json:
            print(text_of(finding, colours=colours), flush=True)
    if as_json:
        print(json.dumps([dataclasses.asdict(finding) for finding in seen], indent=1))
    elif not can_run(seen):
        count = sum(finding.level is Level.FAIL for finding in seen)
        print(f"a job could not run on this node: {count} to be mended")
    return 0 if can_run(seen) else 1


def text_of(finding: Finding, *, colours: bool = False) -> str:
    """Return a finding as one line, and a second one for its cure.

    >>> print(text_of(Finding(Level.OK, "ssh", "/usr/bin/ssh")))
    ok    ssh: /usr/bin/ssh
    """
    word = f"{finding.level:<5}"
    if colours:
        word = f"\x1b[{_COLOURS[finding.level]}m{word}\x1b[0m"
    cure = f"\n      cure: {finding.cure}" if finding.cure else ""
    return f"{word} {finding.subject}: {finding.text}{cure}"
