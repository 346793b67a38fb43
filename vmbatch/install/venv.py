"""Virtual environments: the checkout's own, and that of an installation."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vmbatch.errors import ProgramError, SiteError
from vmbatch.install.console import step
from vmbatch.install.reach import python_of
from vmbatch.process import CLEAN_ENVIRONMENT

PYTHON = "/usr/bin/python3"
_STAMP = "vmbatch-stamp"


def read_project(root: Path) -> dict[str, Any]:
    """Return the tables of the checkout's pyproject.toml.

    Raises:
        SiteError: this is not a checkout.
    """
    try:
        return tomllib.loads((root / "pyproject.toml").read_text())
    except FileNotFoundError:
        raise SiteError(
            f"{root} is not a checkout of vmbatch: it has no pyproject.toml",
            hint="from an installation, setup.sh can only uninstall: setup.sh -u",
        ) from None


def stamp_of(project: Mapping[str, Any], extras: Sequence[str], where: Path) -> str:
    """Return what changes whenever the environment has to be made anew.

    Settings of linters in the same file do not count.

    Args:
        project: the tables of pyproject.toml.
        extras: which optional dependencies are wanted.
        where: the environment's directory: it can't be moved.
    """
    tables = {name: project.get(name) for name in ("project", "build-system")}
    interpreter = [os.path.realpath(PYTHON), list(sys.version_info[:3])]
    text = json.dumps([tables, sorted(extras), str(where), interpreter], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def is_current(venv: Path, stamp: str) -> bool:
    """Whether an environment was made whole, from the same wishes."""
    try:
        return stamp in (venv / _STAMP).read_text().split()
    except OSError:
        return False


def prepare_checkout(root: Path, extras: Sequence[str] = ()) -> None:
    """Make or renew the checkout's .venv, with vmbatch in it as it stands in the checkout.

    Raises:
        ProgramError: pip or venv failed.
    """
    venv = root / ".venv"
    project = read_project(root)
    stamps = [stamp_of(project, wish, venv) for wish in ([], extras)]
    if not is_current(venv, stamps[-1]):
        with step("making the virtual environment .venv"):
            _create(venv)
            _pip(venv / "bin" / "python", *requirements(project, extras))
            _point_at_package(venv)
            (venv / _STAMP).write_text("\n".join(stamps) + "\n")
    _put_command(root)


def requirements(project: Mapping[str, Any], extras: Sequence[str] = ()) -> list[str]:
    """Return what pip has to install."""
    table = project["project"]
    optional = table.get("optional-dependencies", {})
    return [*table["dependencies"], *(name for extra in extras for name in optional[extra])]


def build(venv: Path, wanted: Sequence[str], stamp: str) -> None:
    """Make the environment of an installation: the packages that vmbatch needs, and no commands.

    Nothing in it names its own place but the package directory above it, by a relative path, so
    that it works wherever the installation is moved to.

    Raises:
        ProgramError: pip or venv failed.
    """
    if is_current(venv, stamp):
        return
    with step(f"making the virtual environment {venv}"):
        if venv.exists():
            shutil.rmtree(venv)
        _create(venv)
        _pip(venv / "bin" / "python", *wanted)
        for command in (venv / "bin").iterdir():
            if not command.name.startswith("python"):
                command.unlink()
        _point_at_package(venv)
        (venv / _STAMP).write_text(f"{stamp}\n")


def _point_at_package(venv: Path) -> None:
    """Put the directory that holds the environment, and the package, on its path of modules."""
    for packages in venv.glob("lib/python3*/site-packages"):
        # Relative to this directory, see the documentation of the module `site`.
        (packages / "vmbatch.pth").write_text("../../../..\n")


def _put_command(root: Path) -> None:
    start = shlex.join([*python_of(root), "-I", "-m", "vmbatch.cli.main"])
    text = f'#!/bin/sh\nexec {start} "$@"\n'
    command = root / ".venv" / "bin" / "vmbatch"
    if not command.exists() or command.read_text() != text:
        command.unlink(missing_ok=True)
        command.write_text(text)
        command.chmod(0o755)


def _create(venv: Path) -> None:
    python = venv / "bin" / "python3"
    if not _works(python):
        _run([PYTHON, "-m", "venv", "--clear", str(venv)], "apt-get install python3-venv")


def _works(python: Path) -> bool:
    """Whether an interpreter starts, is of this version, and has pip."""
    major, minor = sys.version_info[:2]
    code = f"import pip, sys; sys.exit(sys.version_info[:2] != ({major}, {minor}))"
    try:
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def _pip(python: Path, *arguments: str) -> None:
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, *arguments], "its reason stands above; see the network and pip's configuration")


def _run(argv: Sequence[str], hint: str) -> None:
    # The administrator's own environment: proxies, certificates and pip's settings are in it.
    environment = {**os.environ, "PATH": CLEAN_ENVIRONMENT["PATH"]}
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=2, env=environment, check=False)
    if done.returncode != 0:
        raise ProgramError(
            f"{' '.join(argv[2:4])} failed with exit status {done.returncode}", hint=hint
        )
