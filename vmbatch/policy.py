"""Which jobs get a guest, decided in well under a millisecond.

This module is on the path of every job of the cluster, also of those that never heard of machines.
So it imports nothing but what is built into the interpreter; rules are plain tuples; and what the
site file says is read from a compiled copy, which is valid as long as the site file is the same.

How the fast path uses it (``os`` and ``sys`` are all that it needs besides)::

    site_file = policy.site_file(os.environ)
    site = policy.read_compiled(policy.cache_dir(site_file), site_file)
    if site is None:                       # first job after a boot or a change
        from vmbatch.config import refresh_policy
        site = refresh_policy(site_file)   # ConfigError where the site file is broken
    asks = policy.asks(resources, site.ignore)
    if policy.decide(site.rules, queue=…, user=…, groups=lookup, asks=asks) is None:
        ...                                # bare metal

A *pattern* is an exact name, or a beginning with a ``*`` at its end.
"""

import marshal
import posix
import sys

from vmbatch import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is too dear for this path
    from collections.abc import Callable, Iterable, Mapping, Sequence

DEFAULT_SITE_FILE = "/etc/vmbatch/vmbatch.yaml"
DEFAULT_RUN = "/run/vmbatch"
DEFAULT_PROFILE = "default"
DEFAULT_IMAGE_KEY = "vbuserimage"
OWN_KEYS = ("vcpus", "ram", "profile")

Rule = tuple[
    tuple[str, ...], tuple[str, ...], tuple[str, ...], bool | None, str | None, tuple[str, ...]
]
"""(queues, users, groups, asks, profile, allow): an empty condition holds for every job; `asks`
None holds for both kinds; `profile` None is bare metal; `allow` are patterns of profiles that the
job may name itself."""

Identity = tuple[str, int, int, int, int]
"""(path, mtime_ns, ctime_ns, size, inode); the four numbers are 0 where no file is there."""

_FORMAT = 1
_LARGEST = 1 << 20


def find_others(resources: str) -> "list[str]":
    """Return the text of each ``other=`` in a Torque resource list.

    Torque joins the list with commas and quotes nothing, so that a value with a comma can pass
    for several entries; more than one ``other=`` is therefore never to be trusted.

    >>> find_others("nodes=1:ppn=2,other=vbuserimage=tiny,walltime=00:10:00")
    ['vbuserimage=tiny']
    """
    if "other=" not in resources:
        return []
    entries = (entry.lstrip() for entry in resources.split(","))
    return [entry[6:] for entry in entries if entry.startswith("other=") and entry != "other="]


def key_of(part: str) -> str:
    """Return the key of one ``key=value`` or ``key:value`` of a request.

    >>> key_of("vbuserimage:tiny"), key_of("vbuserimage=a:b"), key_of("word")
    ('vbuserimage', 'vbuserimage', 'word')
    """
    return part.partition("=")[0].partition(":")[0]


def matches(name: str, patterns: "Iterable[str]") -> bool:
    """Tell whether any of the patterns stands for `name`.

    >>> matches("students", ["staff", "stud*"]), matches("stud", ["students"])
    (True, False)
    """
    for pattern in patterns:
        if name == pattern or (pattern[-1:] == "*" and name.startswith(pattern[:-1])):
            return True
    return False


def asks(resources: str, ignore: "Sequence[str]" = ()) -> bool:
    """Tell whether a job's resource list holds anything that is meant for us.

    Args:
        resources: the resource list, as `find_others` takes it.
        ignore: patterns of the keys in ``other=`` that are somebody else's.
    """
    for text in find_others(resources):
        for part in text.split("+"):
            if not matches(key_of(part), ignore):
                return True
    return False


def decide(
    rules: "Iterable[Rule]",
    *,
    queue: str,
    user: str,
    groups: "Callable[[], Iterable[str]]",
    asks: bool,
    wanted_profile: "str | None" = None,
) -> "str | None":
    """Return the profile of a job's guest, or None for bare metal.

    The first rule whose conditions all hold decides. After the last rule a job that asks gets the
    profile that it names or else `DEFAULT_PROFILE`, and a job that does not ask gets bare metal.

    Args:
        rules: see `Rule`.
        queue: where the job was queued.
        user: its owner.
        groups: gives the names of the owner's groups; called once, when a rule needs them.
        asks: whether the job asks for a guest.
        wanted_profile: the profile that the job names. Where the rule does not allow it the
            rule's own is returned: compare, or call `vmbatch.config.choose_profile`.
    """
    names = None
    for queues, users, in_groups, asking, profile, allow in rules:
        if asking is not None and asking != asks:
            continue
        if queues and not matches(queue, queues):
            continue
        if users and not matches(user, users):
            continue
        if in_groups:
            if names is None:
                names = tuple(groups())
            if not any(matches(name, in_groups) for name in names):
                continue
        if profile is not None and wanted_profile is not None and matches(wanted_profile, allow):
            return wanted_profile
        return profile
    return (wanted_profile or DEFAULT_PROFILE) if asks else None


def site_file(environ: "Mapping[str, str]") -> str:
    """Return the path of the site file: ``$VMBATCH_CONFIG`` or `DEFAULT_SITE_FILE`.

    Only for processes whose environment the administrator made; never on the owner's side.
    """
    return environ.get("VMBATCH_CONFIG") or DEFAULT_SITE_FILE


def cache_dir(site_file: str) -> str:
    """Return where the compiled copy of a site file is kept.

    It can't be `paths.run`, which is known only when the site file has been read. For the default
    site file it is `DEFAULT_RUN`; another one has it beside itself, so that neither is in the
    other's way.
    """
    if site_file == DEFAULT_SITE_FILE:
        return DEFAULT_RUN
    return site_file.rpartition("/")[0] or "/"


class Compiled:
    """What the fast path needs of a site file.

    Args:
        identity: the site file that it was made from.
        rules: see `Rule`.
        ignore: patterns of keys in ``other=`` that are somebody else's.
        state: `paths.state`.
        run: `paths.run`.
        log: `paths.log`.
    """

    __slots__ = (
        "identity",
        "ignore",
        "log",
        "rules",
        "run",
        "state",
    )

    def __init__(
        self,
        *,
        identity: Identity,
        rules: tuple[Rule, ...],
        ignore: tuple[str, ...],
        state: str,
        run: str,
        log: str,
    ) -> None:
        self.identity = identity
        self.rules = rules
        self.ignore = ignore
        self.state = state
        self.run = run
        self.log = log


def identity_of(path: str) -> Identity:
    """Return what tells one state of a site file from another.

    Raises:
        OSError: it can't be told whether the file is there.
    """
    try:
        found = posix.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return (path, 0, 0, 0, 0)
    return (path, found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)


def read_compiled(
    run_dir: str, site_file: str, *, owner: int = 0, stale: bool = False
) -> "Compiled | None":
    """Read what `write_compiled` wrote.

    Args:
        run_dir: where it is, see `cache_dir`.
        site_file: path of the site file.
        owner: uid that must own the compiled copy; anything but 0 is for tests.
        stale: whether the copy of an earlier state of the site file will do.

    Returns:
        None where it is absent, of another state of the site file or another version of this
        package, not a plain file of `owner`, or writable by others.
    """
    try:
        data = _read_owned(f"{run_dir}/policy", owner)
        stamp = _stamp()
        # At both ends: a file that was cut or garbled can have marshal ask for gigabytes.
        if data is None or not data.startswith(stamp) or not data.endswith(stamp):
            return None
        content = data[len(stamp) : -len(stamp)]
        identity, values = marshal.loads(content)  # noqa: S302 - root's own file, just checked
        if not stale and identity != identity_of(site_file):
            return None
        return Compiled(identity=identity, **values)
    except (OSError, ValueError, EOFError, TypeError):
        return None


def _read_owned(path: str, owner: int) -> "bytes | None":
    flags = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC | posix.O_NONBLOCK
    file = posix.open(path, flags)
    try:
        found = posix.fstat(file)
        plain = found.st_mode & 0o170000 == 0o100000
        if not plain or found.st_uid != owner or found.st_mode & 0o022 or found.st_size > _LARGEST:
            return None
        return posix.read(file, found.st_size)
    finally:
        posix.close(file)


def write_compiled(run_dir: str, compiled: Compiled) -> None:
    """Write the compiled copy for `read_compiled`, whole or not at all.

    Everybody may read it: `remoteshell` runs as the job's owner.

    Args:
        run_dir: where to, see `cache_dir`; made where it is not there.
        compiled: what to write.

    Raises:
        OSError: it can't be written. The next job then takes the slow path, nothing worse.
    """
    _make_directory(run_dir)
    values = {name: getattr(compiled, name) for name in Compiled.__slots__ if name != "identity"}
    data = _stamp() + marshal.dumps((compiled.identity, values)) + _stamp()
    temporary = f"{run_dir}/.policy.{posix.getpid()}"
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
    try:
        file = posix.open(temporary, flags, 0o600)
    except FileExistsError:  # of a process that was killed, whose number came round again
        posix.unlink(temporary)
        file = posix.open(temporary, flags, 0o600)
    try:
        whole = posix.write(file, data) == len(data)
        posix.fchmod(file, 0o644)
    finally:
        posix.close(file)
    if not whole:
        posix.unlink(temporary)
        raise OSError(f"{run_dir} is full")
    posix.rename(temporary, f"{run_dir}/policy")


def _make_directory(path: str) -> None:
    try:
        posix.mkdir(path, 0o755)
    except FileExistsError:
        return
    posix.chmod(path, 0o755)  # a prologue's umask is 0077


def _stamp() -> bytes:
    return f"\nvmbatch policy {_FORMAT} {__version__} {sys.hexversion}\n".encode()
