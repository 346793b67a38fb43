"""The arguments of setup.sh, and what each of its commands calls."""

from __future__ import annotations

import argparse
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vmbatch.errors import SiteError, VmbatchError
from vmbatch.install import packages, venv
from vmbatch.install.console import say
from vmbatch.install.daemons import open_passages, start_daemons
from vmbatch.install.demo import demo
from vmbatch.install.packages import Purpose
from vmbatch.install.place import install_command, uninstall_command
from vmbatch.install.reach import mend_scripts, python_of

_EPILOG = """\
other commands:
  setup.sh demo                      run one job in a guest, from this checkout
  setup.sh test [PYTEST ARGUMENTS]   run the tests

Each installs what is missing: Debian packages, a virtual environment; and starts libvirtd.
"""


def main(argv: Sequence[str], checkout: Path) -> int:
    """Run one command of setup.sh and return the exit status."""
    os.umask(0o022)
    try:
        if argv[:1] == ["demo"]:
            return _demo(argv[1:], checkout)
        if argv[:1] == ["test"]:
            return _test(argv[1:], checkout)
        return _place(argv, checkout)
    except VmbatchError as error:
        say(f"setup.sh: {error.message}")
        if error.hint:
            say(f"setup.sh: hint: {error.hint}")
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """Return the parser for installing and uninstalling."""
    top = argparse.ArgumentParser(
        prog="setup.sh",
        description="Installs vmbatch into PREFIX/vmbatch, and links its scripts into mom_priv.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = top.add_argument
    add("-p", "--prefix", default="/opt", help="where to install (default: %(default)s)")
    add("-u", "--uninstall", action="store_true", help="remove what was installed")
    add("--root", default="/", metavar="DIR", help="a scratch tree that stands for /")
    torque = "/var/spool/torque"
    add("--torque-home", default=torque, metavar="DIR", help="has mom_priv (default: %(default)s)")
    add("--job-starter", action="store_true", help="also add $job_starter to mom_priv/config")
    add("--no-packages", action="store_true", help="install no Debian packages, start no daemons")
    add("--force", action="store_true", help="uninstall although jobs have guests")
    add("--purge", action="store_true", help="uninstall also images, state, and changed files")
    return top


def _demo(argv: Sequence[str], checkout: Path) -> int:
    argparse.ArgumentParser(prog="setup.sh demo", allow_abbrev=False).parse_args(argv)
    _require_root("demo")
    with _alone(checkout):
        problem = mend_scripts(checkout / "scripts")
        if problem:
            raise SiteError(problem, hint=f"chown -R root: {checkout}, or clone it as root")
        packages.install((Purpose.RUN, Purpose.BUILD, Purpose.IMAGES))
        venv.prepare_checkout(checkout)
        start_daemons()
        open_passages()
    return demo(checkout)


def _test(argv: Sequence[str], checkout: Path) -> int:
    _require_root("test")
    with _alone(checkout):
        problem = mend_scripts(checkout / "scripts")
        if problem:
            say(f"setup.sh: {problem}; jobs will not start (chown -R root: {checkout})")
        packages.install(tuple(Purpose))
        venv.prepare_checkout(checkout, ["test"])
        start_daemons()
        open_passages()
    os.chdir(checkout)
    command = [*python_of(checkout, enter=True), "-m", "pytest", *argv]
    os.execv(command[0], command)  # noqa: S606 - becomes the test run


def _place(argv: Sequence[str], checkout: Path) -> int:
    arguments = parser().parse_args(argv)
    _require_root("--uninstall" if arguments.uninstall else f"--prefix {arguments.prefix}")
    with _alone(checkout):
        if arguments.uninstall:
            return uninstall_command(arguments)
        return install_command(arguments, checkout)


def _require_root(command: str) -> None:
    if os.geteuid() != 0:
        raise SiteError(
            "setup.sh installs packages and starts guests, so it needs root",
            hint=f"run: sudo ./setup.sh {command}",
        )


@contextmanager
def _alone(checkout: Path) -> Iterator[None]:
    """Let one setup.sh at a time work from a checkout."""
    fd = os.open(checkout, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
