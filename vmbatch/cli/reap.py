"""`vmbatch reap`: remove what jobs that are gone have left on this node."""

from __future__ import annotations

import argparse
from typing import Any

from vmbatch.batch import registry
from vmbatch.cli.root import require_root
from vmbatch.config import Site
from vmbatch.reap import reap


def add_parser(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "reap",
        help="remove guests, files, ports and keys of jobs that are gone",
        description="Removes what jobs that are gone have left on this node. Safe at any time: "
        "living jobs and work under way are left alone.",
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="only tell what there is")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace, site: Site) -> int:
    require_root("vmbatch reap")
    problems = 0
    found = 0
    for finding in reap(
        site,
        alive=lambda system, slug: registry.alive(system, slug, site),
        dry_run=arguments.dry_run,
    ):
        found += 1
        verb = "removed" if finding.removed else "would remove" if arguments.dry_run else "KEPT"
        if finding.problem:
            problems += 1
            verb = "KEPT"
        print(f"{verb}: {finding.what}" + (f": {finding.problem}" if finding.problem else ""))
    if not found:
        print("nothing is left over")
    return 1 if problems else 0
