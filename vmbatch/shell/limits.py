"""The resource limits of this process, as lines for `enter`."""

from __future__ import annotations

import resource

# Letter of the shell's ulimit, limit, bytes a unit. Not among them: what counts things of the node
# (processes, locked memory, queued signals).
_LIMITS = (
    (b"c", resource.RLIMIT_CORE, 512),
    (b"d", resource.RLIMIT_DATA, 1024),
    (b"f", resource.RLIMIT_FSIZE, 512),
    (b"n", resource.RLIMIT_NOFILE, 1),
    (b"s", resource.RLIMIT_STACK, 1024),
    (b"t", resource.RLIMIT_CPU, 1),
    (b"v", resource.RLIMIT_AS, 1024),
)


def lines() -> list[bytes]:
    """Return a line for each limit."""
    return [
        b"limit %s %s %s" % (letter, _text(soft, unit), _text(hard, unit))
        for letter, limit, unit in _LIMITS
        for soft, hard in (resource.getrlimit(limit),)
    ]


def _text(value: int, unit: int) -> bytes:
    return b"unlimited" if value == resource.RLIM_INFINITY else b"%d" % (value // unit)
