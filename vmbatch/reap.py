"""Finding and removing what jobs that are gone have left on this node."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from vmbatch import census
from vmbatch.census import GuestSeen, Stray
from vmbatch.clock import Deadline
from vmbatch.config import Site
from vmbatch.errors import HypervisorError, VmbatchError
from vmbatch.hypervisor.connection import Hypervisor
from vmbatch.hypervisor.process import kill_guest
from vmbatch.jobdir import unregister
from vmbatch.lifecycle import release_slug
from vmbatch.network.ports import return_port

log = logging.getLogger(__name__)

Alive = Callable[[str, str], bool]
"""Tells from a batch system's name (may be empty: unknown) and a slug whether the job lives."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a job left.

    Args:
        what: it, in words.
        removed: whether it is gone now.
        problem: why it is not.
    """

    what: str
    removed: bool
    problem: str = ""


def reap(site: Site, *, alive: Alive, dry_run: bool) -> Iterator[Finding]:
    """Remove what belongs to jobs that are gone; yields each finding as it is dealt with.

    Args:
        site: the site file.
        alive: tells whether a job lives.
        dry_run: only tell.
    """
    domains, problem = _domains(site)
    if problem:
        yield Finding("the list of guests", False, problem)
    states = {name: state for name, (state, _, _) in domains.items()}
    for guest in census.guests(site, states):
        if not guest.busy and not alive(str(guest.record.get("system", "")), guest.place.slug):
            yield _deal(_words(guest), dry_run, partial(_release, site, guest.place.slug))
    for stray in census.strays(site, domains):
        if stray.kind == "domain" or not alive("", stray.slug):
            yield _deal(_stray_words(stray), dry_run, partial(_remove, site, stray))


def _domains(site: Site) -> tuple[dict[str, tuple[str, str, int]], str]:
    try:
        return census.our_domains(site), ""
    except HypervisorError as error:
        return {}, error.message


def _deal(what: str, dry_run: bool, remove: Callable[[], None]) -> Finding:
    if dry_run:
        return Finding(what, False)
    try:
        remove()
    except VmbatchError as error:
        return Finding(what, False, error.message)
    log.info("reaped: %s", what)
    return Finding(what, True)


def _words(guest: GuestSeen) -> str:
    slug = guest.place.slug
    if guest.failed:
        return f"record of the failed job {slug}"
    return f"guest of {slug} ({guest.state or 'not running'}), its disks, keys and leases"


def _stray_words(stray: Stray) -> str:
    words = {
        "domain": f"domain {stray.name} without a job directory",
        "port": f"lease of port {stray.name} by {stray.slug}",
        "entry": f"entry of the job {stray.slug} in the registry",
        "lock": f"lock of the job {stray.slug}",
    }
    return words[stray.kind]


def _release(site: Site, slug: str) -> None:
    release_slug(slug, site=site, deadline=Deadline.after(site.timeouts.release))


def _remove(site: Site, stray: Stray) -> None:
    run = site.paths.run
    match stray.kind:
        case "domain":
            kill_guest(stray.name, stray.uid, Deadline.after(site.timeouts.release))
            with Hypervisor(site.libvirt.uri) as hypervisor:
                hypervisor.destroy(stray.name)
        case "port":
            return_port(run / "ports", int(stray.name), stray.slug)
        case "entry":
            unregister(run, stray.slug)
        case "lock":
            (run / "locks" / stray.slug).unlink(missing_ok=True)
