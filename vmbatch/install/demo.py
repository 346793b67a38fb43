"""`setup.sh demo`: one job of an ordinary user, in a guest, on this machine."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

from vmbatch.install.console import say, step
from vmbatch.process import run

USER = "vmdemo"
IMAGE = "tiny"


def demo(checkout: Path) -> int:
    """Build the image if the store has none, run the job, and return its exit status."""
    vmbatch = str(checkout / ".venv" / "bin" / "vmbatch")
    home = _home_of_user()
    if not _has_image(vmbatch):
        with step(f"building the image {IMAGE}"):
            status = _call([vmbatch, "image", "build", IMAGE], home)
        if status:
            return status
    script = checkout / "examples" / "hello.sh"
    request = ["-l", f"other=vbuserimage={IMAGE}"]
    command = ["local", "run", "--timings", "-u", USER, *request, str(script)]
    say(f"== as {USER}: vmbatch {' '.join(command)}")
    status = _call([vmbatch, *command], home)
    say(f"== exit status of the job: {status}")
    return status


def _home_of_user() -> Path:
    try:
        return Path(pwd.getpwnam(USER).pw_dir)
    except KeyError:
        run(["useradd", "--create-home", "--shell", "/bin/bash", USER])
    return Path(pwd.getpwnam(USER).pw_dir)


def _has_image(vmbatch: str) -> bool:
    done = subprocess.run(
        [vmbatch, "image", "show", IMAGE],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def _call(argv: list[str], cwd: Path) -> int:
    """Run a command of vmbatch on our own streams.

    Its working directory is that of the submission, thus a directory of the user's.
    """
    code = subprocess.run(argv, stdin=subprocess.DEVNULL, cwd=cwd, env=_environment(), check=False)
    return code.returncode if code.returncode >= 0 else 128 - code.returncode


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
