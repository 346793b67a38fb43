"""What a site file said before somebody broke it, from its compiled copy."""

from __future__ import annotations

import os
from pathlib import Path

from vmbatch import policy
from vmbatch.config import Paths, Site
from vmbatch.job import Job


def _last_good() -> policy.Compiled | None:
    file = policy.site_file(os.environ)
    return policy.read_compiled(policy.cache_dir(file), file, stale=True)


def last_good_places() -> Site:
    """Return the places that the last good site file named, and defaults for all else."""
    last = _last_good()
    if last is None:
        return Site()
    paths = Paths(state=Path(last.state), run=Path(last.run), log=Path(last.log))
    return Site(paths=paths)


def is_bare_by_last_rules(job: Job) -> bool:
    """Whether the job needs no guest by the site file as it last was good.

    An error in the site file is not to stop the jobs of the whole cluster that never asked.
    """
    last = _last_good()
    profile = policy.decide(
        last.rules if last else (),
        queue=job.queue,
        user=job.owner.name,
        groups=lambda: [name for name, _ in job.owner.groups],
        asks=policy.asks(job.resources, last.ignore if last else ()),
    )
    return profile is None
