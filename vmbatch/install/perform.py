"""Doing what an installation plans. Each act may be done again: a killed run is simply repeated."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from vmbatch.install.acts import (
    Act,
    AddedText,
    Directory,
    Generated,
    Hook,
    OpenedPassage,
    PutFile,
    PutLink,
    place,
)
from vmbatch.install.hooks import is_link_to, same_file
from vmbatch.jobdir import write_file

Owner = tuple[int, int]
"""uid and gid of what is installed: root's, but in tests."""


def perform(act: Act, root: Path, owner: Owner) -> None:
    """Do one act below `root`."""
    path = place(root, act.path)
    match act:
        case Directory():
            _make_directory(path, owner)
        case PutFile():
            write_file(path, act.data, mode=act.mode, uid=owner[0], gid=owner[1])
        case PutLink():
            _put_link(path, act.target)
        case Hook():
            _put_hook(path, act)
        case AddedText():
            _add_text(path, act.text, owner)
        case OpenedPassage():
            path.chmod(act.before | 0o001)
        case Generated():
            pass  # made by others, later


def orig_of(path: Path) -> Path:
    """Return where the site's own script is kept."""
    return path.with_name(f"{path.name}.orig")


def rewrite(path: Path, data: bytes) -> None:
    """Replace the content of a file of the site's, in one rename; owner and mode stay."""
    found = path.stat()
    mode = found.st_mode & 0o7777
    write_file(path, data, mode=mode, uid=found.st_uid, gid=found.st_gid)


def _make_directory(path: Path, owner: Owner) -> None:
    path.mkdir(mode=0o755, exist_ok=True)
    path.chmod(0o755)
    os.chown(path, *owner)


def _put_link(path: Path, target: str) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.symlink_to(target)
    temporary.rename(path)


def _put_hook(path: Path, hook: Hook) -> None:
    """Link the hook; at no moment is there neither the site's script nor ours."""
    if is_link_to(path, hook.target):
        return
    if hook.aside and not _kept(path):
        os.link(path, orig_of(path), follow_symlinks=False)
    _put_link(path, hook.target)


def _kept(path: Path) -> bool:
    orig = orig_of(path)
    return os.path.lexists(orig) and os.path.lexists(path) and same_file(path, orig)


def _add_text(path: Path, text: str, owner: Owner) -> None:
    before = path.read_bytes() if path.exists() else b""
    added = text.encode()
    if before.endswith(added):
        return
    if path.exists():
        rewrite(path, before + added)
    else:
        write_file(path, added, mode=0o644, uid=owner[0], gid=owner[1])
