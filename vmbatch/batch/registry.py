"""The batch systems that there are, and which jobs they still know."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from vmbatch.batch.liveness import LOCAL, TORQUE, local_alive
from vmbatch.config import Site
from vmbatch.errors import RequestError
from vmbatch.job import slug_of

_GRACE = 120.0
"""Seconds."""

_MOM_FILE = re.compile(r"(?P<name>.+)\.(SC|JB|TK)")
_ELEMENT = re.compile(r"^(\d+)-(\d*)\.")


def alive(system: str, slug: str, site: Site) -> bool:
    """Whether a batch system still knows the job.

    Args:
        system: the adapter's name, or empty where it is not known: then any of them.
        slug: the job's name for files.
        site: the site file.
    """
    chosen = [_LIVING[system]] if system in _LIVING else list(_LIVING.values())
    if any(slug in living(site) for living in chosen):
        return True
    return system != LOCAL and _is_young(site.paths.state / "jobs" / slug)


def _is_young(directory: Path) -> bool:
    """Whether a job came so lately that its mom may not have written its files yet.

    An interactive job has none while its prologue runs.
    """
    try:
        return time.time() - directory.stat().st_mtime < _GRACE
    except FileNotFoundError:
        return False


def _torque(site: Site) -> set[str]:
    jobs = site.torque.home / "mom_priv" / "jobs"
    names = (_MOM_FILE.fullmatch(path.name) for path in jobs.glob("*"))
    return set(_slugs(job_id for match in names if match for job_id in _ids(match["name"])))


def _ids(name: str) -> Iterator[str]:
    """Yield the ids that a mom's file may belong to: ``186-0.vm`` is that of ``186[0].vm``."""
    yield name
    if _ELEMENT.match(name):
        yield _ELEMENT.sub(r"\1[\2].", name)


def _local(site: Site) -> set[str]:
    running = site.local.home / "running"
    ids = (path.name for path in running.glob("*"))
    return set(_slugs(job_id for job_id in ids if local_alive(job_id, site.local.home)))


def _slugs(ids: Iterator[str]) -> Iterator[str]:
    for job_id in ids:
        try:
            yield slug_of(job_id)
        except RequestError:
            continue


_LIVING: Mapping[str, Callable[[Site], set[str]]] = {TORQUE: _torque, LOCAL: _local}
