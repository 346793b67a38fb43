"""What runs for every job of the node: bare metal is settled here, in a few milliseconds.

Started by `scripts/prologue` and its kin as ``python -I -S fastpath.py KIND PATH ARGUMENTS…``;
PATH is what the batch system called (a link in ``mom_priv``). No site-packages, no package but
`vmbatch.policy` and `vmbatch.jobid`; all else is imported when a job has a machine.

Exit codes are Torque's: 0 the job goes on, 1 it is aborted, anything else requeues it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmbatch.policy import Compiled

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
ABORT = 1
REQUEUE = 2
BARE = b"bare\n"

# What the shell of our own script adds to the environment that it was given.
_SHELL_ADDS = ("PWD", "OLDPWD", "SHLVL", "_")


def main(argv: Sequence[str]) -> int:
    """Run one event of the batch system.

    Args:
        argv: kind (``prologue``, ``epilogue``, ``prologue.parallel``, ``epilogue.parallel``), the
            path that was called, and the batch system's own arguments.

    Returns:
        The exit code. Whatever goes wrong with us, it is never 0 for a prologue.
    """
    kind, called, *arguments = argv
    if ROOT not in sys.path:
        sys.path.insert(0, ROOT)
    try:
        if kind.startswith("prologue"):
            return prologue(kind, called, arguments)
        return epilogue(kind, called, arguments)
    except Exception as error:
        sys.stderr.write(
            f"vmbatch: {kind} can't do its work on this node: {error!r}\n"
            "hint: the administrator finds the cause with: vmbatch doctor\n"
        )
        return 0 if kind == "prologue.parallel" else ABORT


def prologue(kind: str, called: str, arguments: list[str]) -> int:
    """Settle a bare job, or hand the job over to `vmbatch.batch.torque`."""
    status = run_site_script(called, kind, arguments)
    if status:
        return status
    site = _compiled()
    slug = _slug(arguments[0])
    if site is not None:
        entry = f"{site.run}/jobs/{slug}"
        _forget(entry)
        if _is_bare(site, arguments) and _register(entry):
            return 0
    return _slow(kind, arguments)


def epilogue(kind: str, called: str, arguments: list[str]) -> int:
    """Forget a bare job, or let `vmbatch.batch.torque` release what it had."""
    site = _compiled()
    slug = _slug(arguments[0])
    entry = f"{site.run}/jobs/{slug}" if site is not None else ""
    status = 0
    try:
        if entry and _read(entry) == BARE:
            _forget(entry)
        else:
            status = _slow(kind, arguments)
    finally:
        theirs = run_site_script(called, kind, arguments)
    return theirs or status


def run_site_script(called: str, kind: str, arguments: Sequence[str]) -> int:
    """Run the script that the site had before us, ``KIND.orig`` beside the path that was called.

    It gets what it would get from the batch system: arguments, environment, directory and
    descriptors.

    Returns:
        Its exit status; 2 where the batch system would refuse it for its owner or mode, and where
        a signal ended it, which Torque itself would take for success.
    """
    path = os.path.join(os.path.dirname(called), kind + ".orig")  # noqa: PTH118, PTH120
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return 0  # missing, or a link that leads nowhere: the batch system would skip it too
    if not may_run(found):
        sys.stderr.write(
            f"vmbatch: {path} is not run: it must be root's, executable, "
            "and writable by nobody else\n"
        )
        return REQUEUE
    pid = os.posix_spawn(path, [path, *arguments], _environment(), setsigdef=[_SIGXFSZ])
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code < 0:
        sys.stderr.write(f"vmbatch: {path} was ended by signal {-code}\n")
    return code if code >= 0 else REQUEUE


_SIGXFSZ = 25  # Python ignores it, and a program that we start would inherit that


def may_run(found: os.stat_result) -> bool:
    """Whether Torque would run a root script of this owner and mode: pbs_mom's own rule."""
    mode = found.st_mode
    return (
        mode & 0o170000 == 0o100000
        and found.st_uid == 0
        and mode & 0o500 == 0o500
        and not mode & 0o022
    )


def _environment() -> dict[bytes, bytes]:
    """Return the environment as the batch system made it, without what shell and Python added."""
    with open("/proc/self/environ", "rb") as stream:  # noqa: PTH123
        pairs = (entry.partition(b"=") for entry in stream.read().split(b"\0") if entry)
        added = {name.encode() for name in _SHELL_ADDS}
        return {name: value for name, _, value in pairs if name not in added}


def _compiled() -> Compiled | None:
    from vmbatch import policy

    site_file = policy.site_file(os.environ)
    return policy.read_compiled(policy.cache_dir(site_file), site_file)


def _slug(job_id: str) -> str:
    from vmbatch.jobid import slug_of

    return slug_of(job_id)


def _is_bare(site: Compiled, arguments: Sequence[str]) -> bool:
    from vmbatch import policy

    _, user, _, _, resources, queue = arguments[:6]
    if policy.asks(resources, site.ignore):
        return False

    def groups() -> list[str]:
        import grp

        return [grp.getgrgid(gid).gr_name for gid in os.getgrouplist(user, _gid(user))]

    try:
        profile = policy.decide(site.rules, queue=queue, user=user, groups=groups, asks=False)
    except KeyError:  # a user or group that the node does not know
        return False
    return profile is None


def _gid(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid


def _register(entry: str) -> bool:
    """Write the job starter's token; False where the directories are not there yet."""
    temporary = f"{entry}.{os.getpid()}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError:
        return False
    try:
        os.write(fd, BARE)
        os.fchmod(fd, 0o644)
    finally:
        os.close(fd)
    os.rename(temporary, entry)  # noqa: PTH104
    return True


def _read(entry: str) -> bytes:
    try:
        fd = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return b""
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


def _forget(entry: str) -> None:
    try:
        os.unlink(entry)  # noqa: PTH108
    except FileNotFoundError:
        return


def _slow(kind: str, arguments: list[str]) -> int:
    """Give the interpreter its site-packages back, and go on where they are needed."""
    import site

    site.main()
    from vmbatch.batch import torque

    return torque.main(kind, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
