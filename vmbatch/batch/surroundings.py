"""What a script of ours finds around it, and puts in order before it begins."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from vmbatch.batch.momconfig import MomConfig
from vmbatch.clock import Deadline
from vmbatch.joblock import start_time

UMASK = 0o022


def close_foreign() -> None:
    """Close the batch system's own descriptors: one of them is the job's standard input."""
    for fd in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if fd > 2:
            with suppress(OSError):  # the one that listed the directory is closed already
                os.close(fd)


def process_age() -> float:
    """Return for how many seconds this process has existed; its limit runs since then."""
    ticks = start_time(os.getpid())
    if ticks is None:
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))


def prologue_deadline(
    config: MomConfig, *, limit: float | None, reserve: float, age: float
) -> Deadline:
    """Return when a prologue must have made its guest, or given up.

    Args:
        config: the mom's.
        limit: what the site file says of the mom's limit, seconds, or None.
        reserve: seconds of it that cleaning up may need; at most half of it is kept.
        age: for how long the prologue has been running.
    """
    whole = limit if limit is not None else float(config.script_limit)
    return Deadline.after(whole - min(reserve, whole / 2) - age)


def mom_home() -> Path:
    """Return the mom's home: its scripts run in its directory ``mom_priv``."""
    return Path.cwd().parent
