"""The three verbs over a job's guest, but for `enter`, which is `remoteshell`'s.

Journal first, then act. Whatever fails, what was made is undone before the error goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from vmbatch import joblock
from vmbatch.clock import Deadline, Phases
from vmbatch.config import Profile, Site
from vmbatch.console import last_lines
from vmbatch.errors import CancelledError, NodeError, VmbatchError
from vmbatch.interrupt import cancellable
from vmbatch.job import Job, slug_of
from vmbatch.jobdir import (
    JobDir,
    make_directories,
    read_json,
    register_guest,
    registered,
    write_json,
)
from vmbatch.make import Maker
from vmbatch.request import Request
from vmbatch.undo import undo_all

log = logging.getLogger(__name__)

_UNDO_SECONDS = 30.0
"""An undo may go past the deadline: to leave things behind is worse than to be late."""


def provision(
    job: Job,
    *,
    request: Request,
    profile: Profile,
    site: Site,
    deadline: Deadline,
    keep_script: bool = False,
) -> Phases:
    """Make the job's guest and wait until its owner can log in.

    Args:
        job: whose guest.
        request: what the submitter asked for, already checked.
        profile: what the site gives such jobs.
        site: the site file.
        deadline: when the batch system would kill us, less what the clean-up needs.
        keep_script: whether a wrapper stands, or will stand, in place of the job's script, so that
            its text must be kept.

    Returns:
        The phases and their seconds.

    Raises:
        VmbatchError: no guest came to be, and nothing of it is left. Its `phase` and `console` tell
            where.
    """
    place = JobDir(site.paths.state, site.paths.run, job.slug)
    phases = Phases()
    _make_shared(place)
    with cancellable(), joblock.held(place.lock, joblock.Role.PROVISION, deadline):
        undo_all(place, site, Deadline.after(_UNDO_SECONDS))
        maker = Maker(place, site, phases, deadline)
        try:
            maker.make(job, request=request, profile=profile, keep_script=keep_script)
        except VmbatchError as error:
            error.phase = error.phase or phases.current
            error.console = error.console or last_lines(place.console)
            log.warning("%s: failed at %s: %s", job.id, error.phase, error.message)
            _undo_after(error, place, site)
            raise
        except OSError as error:
            failure = _from_os_error(error, phases.current)
            _undo_after(failure, place, site)
            raise failure from error
        except BaseException:
            undo_all(place, site, Deadline.after(_UNDO_SECONDS))
            raise
    log.info("%s: guest ready; %s", job.id, phases.seconds)
    return phases


def record_failure(
    job: Job, *, site: Site, error: VmbatchError, phase: str, console: Sequence[str]
) -> None:
    """Leave the cause for `remoteshell`, which the batch system is about to start for the job.

    Raises:
        NodeError: it can't be written.
    """
    place = JobDir(site.paths.state, site.paths.run, job.slug)
    _make_shared(place)
    with joblock.held(place.lock, joblock.Role.RELEASE, Deadline.after(_UNDO_SECONDS)):
        undo_all(place, site, Deadline.after(_UNDO_SECONDS))
        place.create()
        write_json(place.record, {"id": job.id, "system": job.system, "owner": job.owner.name})
        failure = {
            "state": "failed",
            "job": job.id,
            "message": error.message,
            "hint": error.hint,
            "phase": phase,
            "console": list(console),
        }
        write_json(place.guest, failure, mode=0o400, uid=job.owner.uid, gid=job.owner.gid)
        register_guest(place.run, place.slug, place.path)


def release(job_id: str, *, site: Site, deadline: Deadline) -> None:
    """Remove everything of a job, however far it came; any number of times.

    A prologue that still works on the job is stopped first.

    Raises:
        NodeError: something could not be removed; what is left is still in the journal.
    """
    release_slug(slug_of(job_id), site=site, deadline=deadline)


def release_slug(slug: str, *, site: Site, deadline: Deadline) -> None:
    """Do as `release` does for a job of which only the slug is known."""
    place = JobDir(site.paths.state, site.paths.run, slug)
    if not (place.path.exists() or place.lock.exists() or registered(place.run, place.slug)):
        return
    _make_shared(place)
    with joblock.held(place.lock, joblock.Role.RELEASE, deadline):
        _run_epilog(place, site)
        undo_all(place, site, Deadline.after(max(_UNDO_SECONDS, deadline.left())))
    log.info("%s: released", slug)


def _run_epilog(place: JobDir, site: Site) -> None:
    """Have the guest run the site's epilog.sh; its failure is logged, and hinders nothing."""
    if not (read_json(place.record).get("epilog") and place.timings.exists()):
        return
    from vmbatch.hypervisor.channel import GuestChannel

    try:
        with GuestChannel(place.channel) as channel:
            status, output = channel.run_epilog(Deadline.after(site.timeouts.epilog))
    except VmbatchError as error:
        log.warning("%s: epilog.sh was not run: %s", place.slug, error.message)
        return
    if status != 0:
        ending = "did not end in time" if status is None else f"exited {status}"
        log.warning("%s: epilog.sh %s: %s", place.slug, ending, "; ".join(output[-5:]))


def _make_shared(place: JobDir) -> None:
    try:
        make_directories(place.state, place.run)
    except OSError as error:
        raise _from_os_error(error, "start") from error


def _undo_after(error: VmbatchError, place: JobDir, site: Site) -> None:
    try:
        undo_all(place, site, Deadline.after(_UNDO_SECONDS))
    except NodeError as second:
        log.exception("%s: %s", place.slug, second.message)
        if isinstance(error, CancelledError):
            return
        error.hint = f"{error.hint}; also: {second.message}".lstrip("; ")


def _from_os_error(error: OSError, phase: str) -> NodeError:
    failure = NodeError(
        f"the node failed at {phase or 'start'}: {error.strerror or error}"
        + (f": {error.filename}" if error.filename else ""),
        hint="see whether a file system is full or read-only (df -h), and: vmbatch doctor",
    )
    failure.phase = phase
    return failure
