"""Whether the embedded batch system still knows a job; `registry` asks for all systems."""

from __future__ import annotations

from pathlib import Path

from vmbatch.joblock import start_time

TORQUE = "torque"
LOCAL = "local"


def local_alive(job_id: str, home: Path) -> bool:
    """Whether the process that runs a local job lives.

    Args:
        job_id: the job.
        home: `local.home` of the site.
    """
    try:
        pid, started = (home / "running" / job_id).read_text().split()
        return start_time(int(pid)) == int(started)
    except (OSError, ValueError):
        return False
