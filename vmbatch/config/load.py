"""Read the site file: first whether it can be trusted, then what it says."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import MappingProxyType

from vmbatch.config import trust
from vmbatch.config.build import build
from vmbatch.config.checks import between_keys
from vmbatch.config.document import Document, Problem
from vmbatch.config.model import Site
from vmbatch.errors import ConfigError
from vmbatch.policy import DEFAULT_SITE_FILE, Identity
from vmbatch.policy import site_file as policy_site_file

_LARGEST = 1 << 20
_CHECK = "list all problems with: vmbatch config check"


def site_file() -> Path:
    """Return the path of the site file: ``$VMBATCH_CONFIG`` or ``/etc/vmbatch/vmbatch.yaml``.

    The variable is honoured for root too, since the batch system and not the user makes the
    environment of root's scripts; whatever it names must exist and be root's alone.

    Raises:
        ConfigError: ``$VMBATCH_CONFIG`` is not an absolute path.
    """
    path = Path(policy_site_file(os.environ))
    if not path.is_absolute() or ".." in path.parts:
        raise ConfigError(
            f"VMBATCH_CONFIG is {str(path)!r}, which is not an absolute path",
            hint="give the whole path of the site file, without ..",
        )
    return path


def load_site(path: Path | None = None) -> Site:
    """Read the site file; where there is none, everything has its default.

    Args:
        path: another site file than `site_file`'s.

    Raises:
        ConfigError: it is not root's alone, or something in it is wrong; or ``$VMBATCH_CONFIG``
            names a file that is not there.
    """
    file = (path or site_file()).absolute()
    site, problems = read_site(file)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ConfigError(f"{problems[0]}{more}", hint=problems[0].hint or _CHECK)
    if path is None and not site.identity[-1] and str(file) != DEFAULT_SITE_FILE:
        raise ConfigError(
            f"there is no {file}, which VMBATCH_CONFIG names",
            hint="correct the variable, or unset it",
        )
    return site


def read_site(file: Path) -> tuple[Site, tuple[Problem, ...]]:
    """Read a site file and return all that is wrong in it with what could be made of the rest.

    Raises:
        ConfigError: it can't be read, or is not root's alone.
    """
    found = _read_trusted(file)
    if found is None:
        return Site(file=file, identity=(str(file), 0, 0, 0, 0)), ()
    data, identity = found
    document = Document(file=str(file))
    try:
        values = build(document, document.compose(data.decode()))
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        document.complain(line, "", "not UTF-8 text")
        values = {}
    site = Site(
        **values, file=file, identity=identity, lines=MappingProxyType(dict(document.lines))
    )
    if not document.problems:
        for key, text in between_keys(site):
            document.complain(line_near(site, key), key, text)
    return site, tuple(document.problems)


def line_near(site: Site, key: str) -> int:
    """Return the line of a key, or of the nearest part of the file that it belongs to; else 0."""
    while key and key not in site.lines:
        key = key.rpartition(".")[0]
    return site.lines.get(key, 0)


def _read_trusted(file: Path) -> tuple[bytes, Identity] | None:
    """Return content and identity; None where there is no such file."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unusable(
            file, "it is a link" if file.is_symlink() else str(error.strerror)
        ) from None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise _unusable(file, "it is not a plain file")
        for fault in trust.faults(file, {0, os.geteuid()}):
            raise _unusable(file, fault)
        data = os.read(fd, _LARGEST + 1)
    finally:
        os.close(fd)
    if len(data) > _LARGEST:
        raise _unusable(file, f"it is larger than {_LARGEST} bytes")
    same = (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)
    return data, (str(file), *same)


def _unusable(file: Path, cause: str) -> ConfigError:
    return ConfigError(
        f"the site file {file} can't be used: {cause}",
        hint=f"make it a plain file: chown root {file}; chmod 644 {file}; "
        "and its directories writable by root alone",
    )
