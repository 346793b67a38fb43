"""Where the files of an installation come from and go to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vmbatch.errors import SiteError
from vmbatch.install.acts import Generated, PutFile, PutLink

TREES = ("vmbatch", "scripts", "scripts-vm", "templates-vm", "contrib", "docs", "examples", "man")
_BECOMES = {"man": "share/man/man{section}"}
_ROOT_ONLY = {"prologue", "prologue.parallel", "epilogue", "epilogue.parallel"}
SITE_FILE = "/etc/vmbatch/vmbatch.yaml"
PROFILE = "/etc/profile.d/99-vmbatch.sh"

_COMMAND = """\
#!/bin/sh
root=$(dirname -- "$(dirname -- "$(readlink -f -- "$0")")")
exec "$root/.venv/bin/python" -I -m vmbatch.cli.main "$@"
"""

_SITE_TEXT = """\
# The site file of vmbatch. Every key has a default, so that this may stay as it is.
# All keys, with what they mean:   vmbatch config show
# Whether this file is right:      vmbatch config check
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where to install.

    Args:
        root: stands for ``/``: a scratch tree, or ``/`` itself.
        prefix: the installation goes to ``PREFIX/vmbatch``.
        torque_home: where Torque's ``mom_priv`` is.
    """

    root: Path
    prefix: str
    torque_home: str

    @property
    def top(self) -> str:
        """The directory of the installation."""
        return f"{self.prefix.rstrip('/')}/vmbatch"

    @property
    def mom_priv(self) -> str:
        """The directory of the mom's scripts."""
        return f"{self.torque_home.rstrip('/')}/mom_priv"


def files(checkout: Path, target: Target) -> Iterator[PutFile | PutLink | Generated]:
    """Yield everything that goes below the prefix and into ``/etc``, but for hooks."""
    for tree in TREES:
        for source in sorted(_walk(checkout / tree)):
            yield _file(checkout, source, target)
    packages = {path.parent for path in _walk(checkout / "vmbatch") if path.suffix == ".py"}
    for package in sorted(packages):
        yield Generated(path=f"{target.top}/{package.relative_to(checkout)}/__pycache__")
    yield PutFile(
        path=f"{target.top}/setup.sh", data=(checkout / "setup.sh").read_bytes(), mode=0o555
    )
    yield PutFile(path=f"{target.top}/bin/vmbatch", data=_COMMAND.encode(), mode=0o555)
    yield PutLink(path=f"{target.top}/bin/remoteshell", target="../scripts/remoteshell")
    profile = (checkout / "contrib" / "profile.d" / "99-vmbatch.sh").read_text()
    yield PutFile(
        path=PROFILE, data=profile.replace("@VMBATCH@", target.top).encode(), mode=0o644, sites=True
    )


def site_file(target: Target) -> PutFile:
    """Return the site file that a node gets which has none."""
    text = _SITE_TEXT
    if target.torque_home != "/var/spool/torque":
        text += f"torque:\n  home: {target.torque_home}\n"
    return PutFile(path=SITE_FILE, data=text.encode(), mode=0o644, sites=True)


def _walk(top: Path) -> Iterator[Path]:
    for directory, names, entries in os.walk(top):
        names[:] = [name for name in names if not name.startswith((".", "__pycache__"))]
        for entry in entries:
            path = Path(directory, entry)
            if path.is_symlink() or not path.is_file():
                raise SiteError(
                    f"{path} is not a plain file", hint="install from a clean clone of vmbatch"
                )
            if not entry.startswith(".") and path.suffix != ".pyc":
                yield path


def _file(checkout: Path, source: Path, target: Target) -> PutFile:
    relative = source.relative_to(checkout)
    tree, rest = relative.parts[0], Path(*relative.parts[1:])
    folder = _BECOMES.get(tree, tree).format(section=source.suffix[1:])
    return PutFile(
        path=f"{target.top}/{folder}/{rest}", data=source.read_bytes(), mode=_mode(source, tree)
    )


def _mode(source: Path, tree: str) -> int:
    if tree == "scripts" and source.name in _ROOT_ONLY:
        return 0o500
    return 0o555 if source.stat().st_mode & 0o100 else 0o444
