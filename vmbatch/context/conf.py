"""``guest.conf``: shell assignments that any POSIX shell reads back byte for byte."""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from vmbatch.errors import SiteError

_PLAIN = "/,:=@+"


def assignments(values: Mapping[str, str]) -> bytes:
    r"""Return one line ``NAME='value'`` for each value.

    Raises:
        SiteError: a value holds a NUL or a line break.

    >>> assignments({"VB_USER": "alice", "VB_HOME": "/home/a b"})
    b"VB_USER=alice\nVB_HOME='/home/a b'\n"
    """
    return b"".join(_assignment(name, value) for name, value in values.items())


def _assignment(name: str, value: str) -> bytes:
    if "\0" in value or "\n" in value:
        raise SiteError(
            f"{name} can't be told to a guest: {value!r} holds a line break or NUL",
            hint="check the user's entry in the node's user database",
        )
    return os.fsencode(f"{name}={shlex.quote(value)}\n")


def encode(text: str) -> str:
    """Percent-encode all that a shell may take for more than text: blanks, patterns, ``%``.

    >>> encode("/scratch/run 1")
    '/scratch/run%201'
    """
    return quote(os.fsencode(text), safe=_PLAIN)


def words(items: Iterable[str]) -> str:
    """Join words that `encode` has made safe."""
    return " ".join(items)


def fingerprint(public: str) -> str:
    """Return ``SHA256:…`` of a public key line, as ``ssh-keygen -l`` prints it."""
    digest = hashlib.sha256(base64.b64decode(public.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
