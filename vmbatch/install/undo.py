"""Taking an installation back, act by act, the last first."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from vmbatch.install.acts import (
    AddedText,
    Directory,
    Generated,
    Hook,
    OpenedPassage,
    PutLink,
    place,
)
from vmbatch.install.hooks import is_link_to, same_file
from vmbatch.install.manifest import Made, MadeFile, digest
from vmbatch.install.perform import orig_of, rewrite


def undo(made: Made, root: Path, *, purge: bool = False) -> str:
    """Take one act back, if it was done.

    Args:
        made: the act.
        root: stands for ``/``.
        purge: remove also what the administrator has changed.

    Returns:
        What had to be left, in one line; empty where nothing was.
    """
    path = place(root, made.path)
    match made:
        case Directory():
            return _remove_directory(path)
        case MadeFile():
            return _remove_file(path, made, purge=purge)
        case PutLink():
            if is_link_to(path, made.target):
                path.unlink()
        case Generated():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
        case Hook():
            return _restore(path, made)
        case AddedText():
            return _remove_text(path, made)
        case OpenedPassage():
            if path.is_dir():
                path.chmod(made.before)
    return ""


def _remove_directory(path: Path) -> str:
    try:
        path.rmdir()
    except FileNotFoundError:
        return ""
    except OSError:
        return f"{path} holds files that setup.sh did not make"
    return ""


def _remove_file(path: Path, made: MadeFile, *, purge: bool) -> str:
    if path.is_symlink() or not path.is_file():
        return ""
    if made.sites and not purge and digest(path) != made.sha256:
        return f"{path} was changed since it was installed"
    path.unlink()
    return ""


def _restore(path: Path, hook: Hook) -> str:
    """Put the site's own script back, in one rename where our link stands."""
    orig = orig_of(path)
    kept = hook.aside and os.path.lexists(orig)
    if is_link_to(path, hook.target):
        if kept:
            orig.rename(path)
        else:
            path.unlink()
    elif kept and not os.path.lexists(path):
        orig.rename(path)
    elif kept and same_file(path, orig):
        orig.unlink()
    elif kept:
        return f"{orig}: another script has been put at {path} since"
    return ""


def _remove_text(path: Path, made: AddedText) -> str:
    if not path.is_file():
        return ""
    data = path.read_bytes()
    added = made.text.encode()
    head, found, tail = data.rpartition(added)
    if not found:
        lines = {line.strip() for line in data.splitlines()}
        return f"{path} still names vmbatch" if added.strip() in lines else ""
    if made.created and not head and not tail:
        path.unlink()
        return ""
    # The newline that was missing before is still wanted where text has been added after ours.
    between = b"\n" if added.startswith(b"\n") and tail else b""
    rewrite(path, head + between + tail)
    if not tail and len(head) == made.size:
        os.utime(path, ns=(made.mtime, made.mtime))
    return ""
