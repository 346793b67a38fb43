"""`setup.sh [-p PREFIX]` and `setup.sh -u`: the installation on this node, or in a scratch tree."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from vmbatch.errors import NodeError, ProgramError, SiteError
from vmbatch.install import packages, venv
from vmbatch.install.acts import Hook, OpenedPassage, place
from vmbatch.install.console import say
from vmbatch.install.daemons import closed_passages, start_daemons
from vmbatch.install.hooks import is_link_to, job_starter_line
from vmbatch.install.installation import (
    Wishes,
    check_trust,
    install,
    manifest_path,
    refuse_while_guests,
    uninstall,
)
from vmbatch.install.layout import Target
from vmbatch.install.packages import Purpose
from vmbatch.process import run

STATE = Path("/var/lib/vmbatch")
DEFAULT_STATES = (STATE, STATE / "images", Path("/run/vmbatch"), Path("/var/log/vmbatch"))
_REAL = Path("/")


def install_command(arguments: argparse.Namespace, checkout: Path) -> int:
    """Install as the arguments say."""
    target = _target(arguments)
    project = venv.read_project(checkout)
    check_trust(target)
    if arguments.job_starter and not place(target.root, target.mom_priv).is_dir():
        raise SiteError(
            f"--job-starter: there is no {target.mom_priv}", hint="give --torque-home DIR"
        )
    passages: tuple[OpenedPassage, ...] = ()
    if target.root == _REAL and not arguments.no_packages:
        packages.install((Purpose.RUN, Purpose.BUILD, Purpose.IMAGES))
        start_daemons()
        passages = _closed_passages()

    def build_venv(directory: Path) -> None:
        venv.build(directory, venv.requirements(project), venv.stamp_of(project, [], directory))
        _compile(directory, target)

    wishes = Wishes(job_starter=arguments.job_starter, passages=passages)
    acts = install(checkout, target, wishes, build_venv=build_venv)
    _tell(target, [act for act in acts if isinstance(act, Hook)])
    return 0


def uninstall_command(arguments: argparse.Namespace) -> int:
    """Uninstall as the arguments say."""
    target = _target(arguments)
    states = _state_directories(target)
    if not arguments.force:
        refuse_while_guests(target.root, states[:1])
    for line in uninstall(target, purge=arguments.purge):
        say(f"kept: {line}")
    for directory in states:
        path = place(target.root, str(directory))
        if not path.exists():
            continue
        if arguments.purge:
            _remove(path)
        elif directory == states[0]:
            say(f"kept: {path} (images and state; --purge removes it)")
    say(f"vmbatch is no longer installed in {place(target.root, target.top)}")
    return 0


def _target(arguments: argparse.Namespace) -> Target:
    root = Path(arguments.root).resolve()
    if not root.is_dir():
        raise SiteError(f"--root {root} is not a directory", hint=f"make it: mkdir {root}")
    prefix = Path(arguments.prefix).absolute()
    if root == _REAL:
        prefix = prefix.resolve()
    home = Path(arguments.torque_home).absolute()
    return Target(root=root, prefix=str(prefix), torque_home=str(home))


def _closed_passages() -> tuple[OpenedPassage, ...]:
    """Return the directories of libvirt to be opened; the installation does and records it."""
    return tuple(OpenedPassage(path=str(path), before=mode) for path, mode in closed_passages())


def _compile(venv_directory: Path, target: Target) -> None:
    """Compile the package, so that no job's prologue has to."""
    package = place(target.root, f"{target.top}/vmbatch")
    python = venv_directory / "bin" / "python"
    strip = ["-s", str(target.root)] if target.root != _REAL else []
    run([python, "-I", "-m", "compileall", "-q", *strip, package])


def _state_directories(target: Target) -> tuple[Path, ...]:
    """Return where state, images, run-time files and logs are; the site file says it.

    The state comes first. Where the site file can't be read, it is the defaults.
    """
    if target.root != _REAL:
        return DEFAULT_STATES
    code = (
        "from vmbatch.config import load_site; paths = load_site().paths; "
        "print(paths.state, paths.images, paths.run, paths.log, sep='\\n')"
    )
    try:
        text = run([f"{target.top}/.venv/bin/python", "-I", "-c", code]).decode()
    except (ProgramError, NodeError, OSError):
        return DEFAULT_STATES
    return (*map(Path, text.splitlines()), *DEFAULT_STATES[-1:])


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _tell(target: Target, hooks: list[Hook]) -> None:
    say(f"vmbatch is installed in {manifest_path(target).parent}")
    config = place(target.root, f"{target.mom_priv}/config")
    if not hooks:
        say(f"there is no {config.parent}: no batch system was linked (--torque-home DIR)")
        return
    for hook in hooks:
        path = place(target.root, hook.path)
        orig = path.with_name(f"{path.name}.orig")
        also = f"; the site's own script is kept as {orig.name}, and runs" if orig.exists() else ""
        if is_link_to(path, hook.target):
            say(f"linked: {path}{also}")
    line = job_starter_line(target).strip()
    text = config.read_text(errors="replace") if config.exists() else ""
    if line not in text:
        say(f"to be added to {config} (setup.sh --job-starter does it), then restart the mom:")
        say(f"    {line}")
