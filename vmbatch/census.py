"""What there is on this node: jobs, domains, leases, locks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmbatch import joblock
from vmbatch.config import Site
from vmbatch.domainxml.render import read_metadata
from vmbatch.hypervisor.connection import Hypervisor
from vmbatch.jobdir import JobDir, read_json
from vmbatch.network.ports import leases


@dataclass(frozen=True, kw_only=True, slots=True)
class GuestSeen:
    """A job that has a directory on this node.

    Args:
        place: its directory.
        record: what was recorded of it; empty where a prologue was killed early.
        state: state of its domain, or None where there is none.
        busy: what is being done to it now: ``provision``, ``release``, or empty.
        failed: whether only the cause of its failure is kept.
    """

    place: JobDir
    record: dict[str, Any]
    state: str | None
    busy: str
    failed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Stray:
    """Something that no job's directory accounts for.

    Args:
        kind: ``domain``, ``port``, ``entry`` or ``lock``.
        name: its name, port number or slug.
        slug: the job it belonged to, where that is known.
        uid: for a domain, whose it is.
    """

    kind: str
    name: str
    slug: str
    uid: int = 0


def guests(site: Site, domains: dict[str, str]) -> Iterator[GuestSeen]:
    """Yield each job that has a directory on this node, by name.

    Args:
        site: the site file.
        domains: states of the running domains by name; see `our_domains`.
    """
    root = site.paths.state / "jobs"
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        place = JobDir(site.paths.state, site.paths.run, path.name)
        record = dict(read_json(place.record))
        holder = joblock.holder(place.lock)
        yield GuestSeen(
            place=place,
            record=record,
            state=domains.get(str(record.get("domain", ""))),
            busy=str(holder.role) if holder else "",
            failed=bool(record) and "domain" not in record,
        )


def our_domains(site: Site) -> dict[str, tuple[str, str, int]]:
    """Return state, job id and uid of each domain that bears our metadata, by its name.

    Raises:
        HypervisorError: libvirt does not answer.
    """
    found = {}
    with Hypervisor(site.libvirt.uri) as hypervisor:
        for name, state, xml in hypervisor.domains():
            tag = read_metadata(xml)
            if tag:
                found[name] = (state, tag.job_id, tag.uid)
    return found


def strays(site: Site, domains: dict[str, tuple[str, str, int]]) -> Iterator[Stray]:
    """Yield what belongs to no directory of a job."""
    known = _names(site.paths.state / "jobs")
    for name, (_, _job, uid) in sorted(domains.items()):
        slug = name.removeprefix("vmbatch-")
        if slug not in known:
            yield Stray(kind="domain", name=name, slug=slug, uid=uid)
    for port, slug in leases(site.paths.run / "ports"):
        if slug not in known:
            yield Stray(kind="port", name=str(port), slug=slug)
    for slug in sorted(_names(site.paths.run / "jobs") - known):
        yield Stray(kind="entry", name=slug, slug=slug)
    for slug in sorted(_names(site.paths.run / "locks") - known):
        if joblock.holder(site.paths.run / "locks" / slug) is None:
            yield Stray(kind="lock", name=slug, slug=slug)


def _names(directory: Path) -> set[str]:
    if not directory.is_dir():
        return set()
    return {path.name for path in directory.iterdir() if not path.name.startswith(".")}
