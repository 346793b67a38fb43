"""Whether every user of the node can reach a file: the job starter runs as the job's owner."""

from __future__ import annotations

import stat
from pathlib import Path

MEETING_POINT = Path("/run/vmbatch-checkout")
"""Where a checkout appears that users can't reach, such as one below /root.

Only for the processes of the command that is started, in a mount namespace of theirs.
"""

_MOUNT = """\
mkdir -p -m 755 "$2" && mount --bind "$1" "$2" || exit
"""
_EXEC = """\
root=$2; shift 2
exec "$root/.venv/bin/python" "$@"
"""
_ENTER = 'cd "$2" || exit\n'


def first_closed(path: Path) -> Path | None:
    """Return the first directory on the way to `path`, or `path` itself, that is closed to others.

    Args:
        path: an absolute path. A directory must let others pass, a file must let them read.
    """
    for step in (*reversed(path.parents), path):
        mode = step.stat().st_mode
        needed = stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
        if not mode & needed:
            return step
    return None


def mend_scripts(scripts: Path, *, owner: int = 0) -> str:
    """Take the writing of others from a checkout's scripts: a mom, and the embedded one, asks it.

    Args:
        scripts: the directory of the scripts.
        owner: uid that must own them; anything but 0 is for tests.

    Returns:
        What can't be mended, in one line; empty where nothing is wrong.
    """
    strangers = []
    for path in sorted(scripts.iterdir()):
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            continue
        if found.st_uid != owner:
            strangers.append(f"{path} belongs to uid {found.st_uid}, and root would run it")
        elif found.st_mode & 0o022:
            path.chmod(stat.S_IMODE(found.st_mode) & ~0o022)
    return strangers[0] if strangers else ""


def python_of(checkout: Path, *, enter: bool = False) -> list[str]:
    """Return the start of a command line that runs the checkout's Python.

    Where users can't reach the checkout, it is seen at `MEETING_POINT`.

    Args:
        checkout: where it is.
        enter: whether its directory, as it is then seen, becomes the working directory.
    """
    if first_closed(checkout) is None:
        return [str(checkout / ".venv" / "bin" / "python")]
    unshare = ["/usr/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", "-c"]
    script = _MOUNT + (_ENTER if enter else "") + _EXEC
    return [*unshare, script, "sh", str(checkout), str(MEETING_POINT)]
