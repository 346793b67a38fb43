"""What an image may be called."""

from __future__ import annotations

import re

from vmbatch.errors import ImageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_name(name: str) -> str:
    """Return `name` if an image may be called so.

    >>> check_name("debian12")
    'debian12'

    Raises:
        ImageError: it holds path parts, blanks or the like.
    """
    if not _NAME.fullmatch(name):
        raise ImageError(
            f"{name!r} can't be the name of an image",
            hint="use up to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit",
        )
    return name
