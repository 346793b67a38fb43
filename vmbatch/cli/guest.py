"""`vmbatch guest list|show|console|log`: the guests of this node, for its administrator."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from vmbatch import census
from vmbatch.cli.root import require_root
from vmbatch.config import Site
from vmbatch.errors import HypervisorError, SiteError
from vmbatch.job import slug_of
from vmbatch.jobdir import JobDir, read_json
from vmbatch.process import CLEAN_ENVIRONMENT, missing

_COLUMNS = ("JOB", "OWNER", "STATE", "IMAGE", "VCPUS", "MIB", "STARTED")


def add_parser(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("guest", help="list, show and look into the guests of this node")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="one line a guest")
    listing.add_argument("--json", action="store_true", help="for scripts")
    listing.set_defaults(run=_list)
    for name, run, text in (
        ("show", _show, "everything that is known of one guest"),
        ("console", _console, "connect to the guest's serial console (leave it with Ctrl-])"),
        ("log", _log, "what the guest has printed on its console"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("job", metavar="JOB", help="the job's id")
        action.set_defaults(run=run)


def _list(arguments: argparse.Namespace, site: Site) -> int:
    require_root("vmbatch guest list")
    rows = [_row(guest) for guest in census.guests(site, _states(site))]
    if arguments.json:
        keys = [column.lower() for column in _COLUMNS]
        print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=1))
        return 0
    if not rows:
        print("no guests on this node")
        return 0
    table = [_COLUMNS, *rows]
    widths = [max(len(row[index]) for row in table) for index in range(len(_COLUMNS))]
    for row in table:
        print(
            "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
        )
    return 0


def _row(guest: census.GuestSeen) -> tuple[str, ...]:
    record = guest.record
    state = guest.busy or ("failed" if guest.failed else guest.state or "gone")
    return (
        str(record.get("id", guest.place.slug)),
        str(record.get("owner", "?")),
        state,
        ",".join(record.get("images", {}).values()),
        str(record.get("vcpus", "")),
        str(record.get("memory_mib", "")),
        str(record.get("started", "")),
    )


def _states(site: Site) -> dict[str, str]:
    try:
        return {name: state for name, (state, _, _) in census.our_domains(site).items()}
    except HypervisorError as error:
        print(f"vmbatch: {error.message}; states are missing", file=sys.stderr)
        return {}


def _show(arguments: argparse.Namespace, site: Site) -> int:
    require_root("vmbatch guest show")
    place = _place(arguments.job, site)
    record = dict(read_json(place.record))
    record["directory"] = str(place.path)
    record["state"] = _states(site).get(str(record.get("domain")), "gone")
    if place.timings.exists():
        record["seconds"] = dict(json.loads(place.timings.read_text()))
    record["undo"] = [{"undo": undo.kind, **undo.values} for undo in place.journal.backwards()]
    print(json.dumps(record, indent=1))
    return 0


def _console(arguments: argparse.Namespace, site: Site) -> int:
    require_root("vmbatch guest console")
    place = _place(arguments.job, site)
    domain = str(read_json(place.record).get("domain", ""))
    argv = ["virsh", "--connect", site.libvirt.uri, "console", "--safe", domain]
    terminal = {key: os.environ[key] for key in ("TERM",) if key in os.environ}
    try:
        os.execvpe(argv[0], argv, {**CLEAN_ENVIRONMENT, **terminal})  # noqa: S606
    except FileNotFoundError:
        raise missing("virsh") from None


def _log(arguments: argparse.Namespace, site: Site) -> int:
    require_root("vmbatch guest log")
    place = _place(arguments.job, site)
    try:
        sys.stdout.buffer.write(place.console.read_bytes())
    except FileNotFoundError:
        raise SiteError(
            f"the guest of {arguments.job} has printed nothing",
            hint="its kernel may lack console=ttyS0 on its command line",
        ) from None
    return 0


def _place(job: str, site: Site) -> JobDir:
    place = JobDir(site.paths.state, site.paths.run, slug_of(job))
    if not place.path.is_dir():
        raise SiteError(f"job {job} has no guest on this node", hint="see: vmbatch guest list")
    return place
