"""The header: shell code, run by `enter` in the guest, that makes a job's process what it was here.

The functions that the code calls (`take_script`, `place`, `limit` ...) are in `scripts-vm/enter`.
"""

# `pathlib` is slow to import, and wants str where the kernel has bytes.
# ruff: noqa: PTH109, PTH113, PTH119, PTH123

from __future__ import annotations

import os

from vmbatch.errors import GuestError
from vmbatch.shell import limits
from vmbatch.shell.call import SHELL, VISIT, WRAPPED, Call
from vmbatch.shell.guestfile import Guest

# Of a login on the node: in the guest they would name sockets and terminals that are not there.
_LEFT_BEHIND = frozenset(
    (b"SSH_AUTH_SOCK", b"SSH_AGENT_PID", b"SSH_CLIENT", b"SSH_CONNECTION", b"SSH_TTY")
)
# Files of the batch system whose names are variables: their text travels along.
_FILES = (b"PBS_NODEFILE", b"PBS_GPUFILE", b"PBS_MICFILE")
_FILE_LIMIT = 1024 * 1024  # bytes
# What a person who looks into a job takes along.
_PERSONAL = (b"TERM", b"LANG", b"LANGUAGE", b"TZ", b"COLORTERM")
_LOGIN_SHELLS = frozenset(
    (b"sh", b"bash", b"dash", b"ash", b"ksh", b"ksh93", b"mksh", b"zsh", b"fish", b"csh", b"tcsh")
)


class Header:
    """What goes ahead of a job's own input.

    Args:
        code: for the guest's shell.
        script: the job's script, may be empty.
    """

    __slots__ = ("code", "script")

    def __init__(self, code: bytes, script: bytes) -> None:
        self.code = code
        self.script = script


def build(call: Call, guest: Guest, environment: dict[bytes, bytes]) -> Header:
    """Return the header for a call.

    Raises:
        GuestError: the job's script can't be read.
    """
    if call.way == VISIT:
        return Header(_visit(call, environment), b"")
    script = _script(guest) if call.way in (SHELL, WRAPPED) and guest.script else None
    code = [b"umask %04o" % _umask()]
    if script is not None:
        code.append(b"take_script " + quote(guest.script))
    variables = _variables(environment, code)
    command = _command(call, guest, environment, script or b"", code)
    code += limits.lines()
    code.append(b"work_in " + quote(_cwd()))
    code.append(b"exec env -i -- " + b" ".join([*variables, *command]))
    return Header(b"\n".join(code), script or b"")


def quote(text: bytes) -> bytes:
    """Return one word of the shell's, whatever is in it."""
    return b"'" + text.replace(b"'", b"'\\''") + b"'"


def _visit(call: Call, environment: dict[bytes, bytes]) -> bytes:
    """Code for a visitor: a fresh login's environment, in which the job's id is known."""
    taken = [
        quote(name + b"=" + value)
        for name, value in environment.items()
        if name in _PERSONAL or name.startswith(b"LC_")
    ]
    taken.append(quote(b"PBS_JOBID=" + os.fsencode(call.job)))
    words = [quote(word) for word in call.words] or [b'"${SHELL:-/bin/sh}"', b"-l"]
    return b'cd "$HOME" || cd /\nexec env -- ' + b" ".join([*taken, *_guarded(call.words), *words])


def _guarded(words: list[bytes]) -> list[bytes]:
    """A prefix for a command that env would take for a variable."""
    return [b"sh", b"-c", b"'exec \"$@\"'", b"sh"] if words and b"=" in words[0] else []


def _script(guest: Guest) -> bytes:
    try:
        with open(guest.script_copy or guest.script, "rb") as file:
            return file.read()
    except OSError as error:
        raise GuestError(
            f"the job's script {os.fsdecode(guest.script)} can't be read: {error.strerror}",
            hint="submit the job again",
        ) from None


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _cwd() -> bytes:
    try:
        return os.getcwdb()
    except OSError:
        return b"/"


def _variables(environment: dict[bytes, bytes], code: list[bytes]) -> list[bytes]:
    """Words for env; lines that place what they name go to `code`."""
    words = []
    for name, value in environment.items():
        if name in _LEFT_BEHIND:
            continue
        text = _content(value) if name in _FILES else None
        if text is not None:
            code.append(b"place %s %s %s" % (name, quote(value), quote(text)))
        elif name == b"TMPDIR" and value.startswith(b"/"):
            code.append(b"scratch " + quote(value))
        else:
            words.append(quote(name + b"=" + value))
            continue
        words.append(b'"%s=$placed_%s"' % (name, name))
    return words


def _content(path: bytes) -> bytes | None:
    """Text of a small file, or None where there is none to send."""
    try:
        if not path.startswith(b"/") or not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            text = file.read(_FILE_LIMIT + 1)
    except OSError:
        return None
    return None if b"\0" in text or len(text) > _FILE_LIMIT else text


def _command(
    call: Call, guest: Guest, environment: dict[bytes, bytes], script: bytes, code: list[bytes]
) -> list[bytes]:
    """Words of the command; lines that prepare it go to `code`."""
    if call.way == SHELL:
        code.append(b"choose_shell " + quote(call.words[0]))
        login = os.path.basename(call.words[0]) in _LOGIN_SHELLS
        return [b'"$shell"', b"-l"] if login else [b'"$shell"']
    if call.way == WRAPPED:
        words = [quote(word) for word in [guest.script, *call.words]]
        if script.startswith(b"#!"):
            return words
        # The kernel does not start a script without #!; the user's shell would read it.
        code.append(b"choose_shell " + quote(environment.get(b"SHELL", b"/bin/sh")))
        return [b'"$shell"', *words]
    return [*_guarded(call.words), *(quote(word) for word in call.words)]
