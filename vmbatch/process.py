"""Every helper program is started here: argv lists, a clean environment, named errors."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from vmbatch.clock import Deadline
from vmbatch.errors import ProgramError

CLEAN_ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
}

_PACKAGES = {
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "ssh-keygen": "openssh-client",
    "ssh": "openssh-client",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "smbd": "samba",
}


def missing(program: str) -> ProgramError:
    """Return the error for a program that is not installed."""
    package = _PACKAGES.get(Path(program).name, Path(program).name)
    return ProgramError(
        f"the program {program} is not installed on this node",
        hint=f"install it, on Debian with: apt-get install {package}",
    )


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    deadline: Deadline | None = None,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] = "/",
    user: int | None = None,
    group: int | None = None,
    groups: Sequence[int] | None = None,
) -> bytes:
    """Run a program to its end and return its standard output.

    Args:
        argv: the program and its arguments; no shell is involved.
        deadline: when to kill it.
        stdin: what it reads.
        environment: added to `CLEAN_ENVIRONMENT`.
        cwd: its working directory.
        user: uid to run as; `group` and `groups` go with it.
        group: gid to run as.
        groups: supplementary gids.

    Raises:
        ProgramError: it is missing, exited non-zero, or ran past the deadline.
    """
    name = os.fspath(argv[0])
    try:
        done = subprocess.run(
            [os.fspath(word) for word in argv],
            input=stdin,
            capture_output=True,
            env={**CLEAN_ENVIRONMENT, **(environment or {})},
            cwd=cwd,
            timeout=deadline.left() if deadline else None,
            user=user,
            group=group,
            extra_groups=groups,
            check=False,
        )
    except FileNotFoundError:
        raise missing(name) from None
    except subprocess.TimeoutExpired as error:
        raise ProgramError(
            f"{name} did not end within {error.timeout:.0f} s", hint="see what it waits for"
        ) from None
    if done.returncode != 0:
        text = done.stderr.decode(errors="replace").strip().splitlines()
        cause = text[-1] if text else "it printed no reason"
        raise ProgramError(f"{name} failed with exit status {done.returncode}: {cause}")
    return done.stdout
