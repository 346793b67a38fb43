"""`guest.json`: where a job's guest is, or why it has none."""

# `pathlib` is slow to import, and wants str where the kernel has bytes.
# ruff: noqa: PTH120, PTH123

from __future__ import annotations

import json
import os
import stat

from vmbatch.errors import GuestError, SiteError, VmbatchError

TYPE_CHECKING = False  # as mypy knows it; `typing` costs 11 ms
if TYPE_CHECKING:
    from typing import Any

_LIMIT = 64 * 1024 * 1024  # bytes; a script may be in it
_WORD = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_PATH = _WORD | {"/", "+", "@", ":", ","}


class Guest:
    """A guest that is ready.

    Args:
        job: id of the job.
        host: address of the forwarded port.
        port: number of the forwarded port.
        user: login name in the guest.
        key: file of the job's private key.
        known_hosts: file with the guest's host key.
        alias: name under which `known_hosts` has it.
        script: path of the job's script, empty where there is none.
        script_copy: file with the script's text, where a wrapper stands in its place.
        enter: path of `enter` in the guest.
        sockets: directory of the owner's own, gone with the job.
    """

    __slots__ = (
        "alias",
        "enter",
        "host",
        "job",
        "key",
        "known_hosts",
        "port",
        "script",
        "script_copy",
        "sockets",
        "user",
    )

    def __init__(self, values: dict[str, Any], jobdir: str) -> None:
        self.job: str = values["job"]
        self.host = _checked(values, "host", _WORD | {":"})
        self.port = int(values["port"])
        self.user = _checked(values, "user", _WORD)
        self.key = _within(jobdir, _checked(values, "key", _PATH))
        self.known_hosts = _within(jobdir, _checked(values, "known_hosts", _PATH))
        self.alias = _checked(values, "alias", _WORD)
        self.enter = _checked(values, "enter", _WORD | {"/"})
        self.sockets = f"{jobdir}/ssh"
        script = values.get("script")
        self.script = os.fsencode(script) if script else b""
        self.script_copy = ""
        if values.get("script_copy") is not None:
            self.script_copy = _within(jobdir, _checked(values, "script_copy", _PATH))


def load(jobdir: str) -> Guest:
    """Read a job's file.

    The file is its owner's, who may have changed it; root may be the reader. So nothing in it
    can name a file outside of `jobdir`, which is root's, or become an option of ssh.

    Raises:
        GuestError: the guest did not become ready; the message says why, as far as is known.
        SiteError: the file is missing or damaged.
    """
    path = f"{jobdir}/guest.json"
    try:
        values = json.loads(_read(path))
        state = values["state"]
        if state == "ready":
            return Guest(values, jobdir)
    except FileNotFoundError:
        raise _damaged(path, "it is not there") from None
    except PermissionError:
        raise GuestError(
            f"{path} can't be read: the job belongs to somebody else",
            hint="only its owner and root can enter a job",
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from None
    raise _not_ready(path, state, values)


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(fd, "rb") as file:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > _LIMIT:
            raise ValueError("it is not a plain file of a sensible size")
        return file.read(_LIMIT)


def _checked(values: dict[str, Any], key: str, allowed: frozenset[str]) -> str:
    text = values[key]
    if not isinstance(text, str) or not text or text[0] == "-" or not allowed.issuperset(text):
        raise ValueError(f"{key} is {text!r}")
    return text


def _within(jobdir: str, path: str) -> str:
    if os.path.dirname(path) != jobdir:
        raise ValueError(f"{path} is not in {jobdir}")
    return path


def _not_ready(path: str, state: object, values: dict[str, Any]) -> VmbatchError:
    if state == "starting":
        return GuestError(
            "the prologue was ended before the guest was ready",
            hint="submit again with a smaller image; the administrator may raise $prologalarm",
        )
    if state != "failed":
        return _damaged(path, f"the state is {state!r}")
    details = [f"phase: {values['phase']}"] if values.get("phase") else []
    console = values.get("console") or []
    if console:
        details.append("the guest's console ended with:")
        details += [f"| {_printable(line)}" for line in console]
    hint = str(values.get("hint") or "see vmbatch guest log for this job")
    return GuestError(
        str(values.get("message") or "the guest failed"), hint="\n".join([hint, *details])
    )


def _printable(line: object) -> str:
    """A line of a console, which may hold anything, made fit for the owner's terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in str(line))


def _damaged(path: str, cause: str) -> SiteError:
    return SiteError(
        f"{path} can't be used: {cause}", hint="submit the job again, or tell the administrator"
    )
