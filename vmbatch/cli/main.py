"""The command `vmbatch`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from vmbatch import __version__
from vmbatch.cli import config, doctor, guest, image, local, reap
from vmbatch.config import load_site
from vmbatch.errors import VmbatchError
from vmbatch.log import log_to_file

_WITHOUT_SITE = {"config", "doctor"}
"""Commands that must work where the site file does not."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = parser().parse_args(argv)
    try:
        if arguments.command in _WITHOUT_SITE:
            return int(arguments.run(arguments))
        site = load_site()
        log_to_file(site.paths.log)
        return int(arguments.run(arguments, site))
    except VmbatchError as error:
        print_error(error)
        return 1
    except BrokenPipeError:
        # The reader, such as head, has what it wanted; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="vmbatch", description="Runs unmodified batch jobs inside virtual machines."
    )
    top.add_argument("--version", action="version", version=f"vmbatch {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (local, image, guest, reap, config, doctor):
        module.add_parser(commands)
    return top


def print_error(error: VmbatchError) -> None:
    """Tell what went wrong and what mends it."""
    print(f"vmbatch: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"vmbatch: hint: {error.hint}", file=sys.stderr)
    logging.getLogger("vmbatch").debug("the error's origin", exc_info=error)


if __name__ == "__main__":
    sys.exit(main())
