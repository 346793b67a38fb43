"""Torque's events, for the jobs that the fast path does not settle.

What Torque makes of a prologue's exit status: 0 the job goes on; 1 it is aborted and its output
withheld; anything else puts it back into the queue, at once and for ever; death by a signal counts
as success. `vmbatch.batch.failing` chooses among them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from vmbatch.batch import attempts
from vmbatch.batch.failing import ABORT, GO_ON, REQUEUE, Led, as_error, say
from vmbatch.batch.lastgood import is_bare_by_last_rules, last_good_places
from vmbatch.batch.liveness import LOCAL, TORQUE
from vmbatch.batch.momconfig import read_mom_config
from vmbatch.batch.redirect import KeptScript, leads_to_us, put_wrapper
from vmbatch.batch.surroundings import (
    UMASK,
    close_foreign,
    mom_home,
    process_age,
    prologue_deadline,
)
from vmbatch.batch.torque_call import (
    RETRY,
    hosts,
    parse_epilogue,
    parse_prologue,
    to_job,
)
from vmbatch.batch.wishes import Wishes, wishes_of
from vmbatch.clock import Deadline
from vmbatch.config import Site, load_site, refresh_policy
from vmbatch.errors import (
    CancelledError,
    ConfigError,
    NodeError,
    RequestError,
    SiteError,
    VmbatchError,
)
from vmbatch.interrupt import cancellable
from vmbatch.job import Job
from vmbatch.jobdir import JobDir, make_directories, register_bare
from vmbatch.jobid import slug_of
from vmbatch.log import log_to_file

log = logging.getLogger(__name__)


def main(kind: str, arguments: Sequence[str]) -> int:
    """Run one event.

    Args:
        kind: ``prologue``, ``epilogue``, or one of these with ``.parallel``.
        arguments: Torque's.

    Returns:
        The exit code.
    """
    before = os.umask(UMASK)
    if kind.startswith("epilogue"):
        try:
            return _epilogue(arguments)
        finally:
            os.umask(before)  # the site's own epilogue comes after ours, and finds what we found
    close_foreign()
    site, broken = _load_site()
    sister = kind.endswith(".parallel")
    try:
        with cancellable():
            status = _prologue(arguments, site, broken, sister=sister)
    except CancelledError:
        status = REQUEUE  # the batch system has given this prologue up, and must not go on from it
    except Exception as error:
        failure = as_error(error)
        log.error("%s: %s", kind, str(failure).replace("\n", "; "))
        say(failure)
        status = ABORT
    return GO_ON if sister else status


def _load_site() -> tuple[Site, ConfigError | None]:
    """Return the site file; or the places of the last good one, and why it can't be used."""
    broken = None
    try:
        refresh_policy()
        site = load_site()
    except ConfigError as error:
        site, broken = last_good_places(), error
    log_to_file(site.paths.log)
    return site, broken


def _prologue(
    arguments: Sequence[str], site: Site, broken: ConfigError | None, *, sister: bool
) -> int:
    call = parse_prologue(arguments)
    home = mom_home()
    system = LOCAL if home == site.local.home else TORQUE
    job = to_job(call, environ=os.environ, system=system)
    wishes: Wishes | None = None
    failure: VmbatchError | None = broken
    if not broken:
        try:
            wishes = wishes_of(job, site)
        except VmbatchError as error:
            failure = error
    if broken and is_bare_by_last_rules(job):
        log.error("%s: runs on the bare node by the last good rules: %s", job.id, broken.message)
        failure = None
    if wishes is None and failure is None:
        make_directories(site.paths.state, site.paths.run)
        register_bare(site.paths.run, job.slug)
        return GO_ON
    if sister:
        return Led(job=job, site=site, redirected=True).fail(failure or _one_node_only())
    return _with_guest(job, site, wishes, failure, home)


def _with_guest(
    job: Job, site: Site, wishes: Wishes | None, failure: VmbatchError | None, home: Path
) -> int:
    """Lead the job to us, then make its guest, or leave the cause why there is none."""
    config = read_mom_config(home / "mom_priv" / "config")
    place = JobDir(site.paths.state, site.paths.run, job.slug)
    kept: KeptScript | None = None
    redirected = leads_to_us(config.job_starter)
    try:
        if not redirected:
            kept = _wrap(job, place)
            redirected = True
        if failure or wishes is None:
            raise failure or NodeError("nothing is known of the job's guest")
        _refuse_more_nodes(job, home)
        request = wishes.request(site)
        deadline = prologue_deadline(
            config,
            limit=site.torque.prologue_limit,
            reserve=site.torque.reserve,
            age=process_age(),
        )
        from vmbatch.lifecycle import provision  # jobs on the bare node never come here

        provision(
            job,
            request=request,
            profile=wishes.profile,
            site=site,
            deadline=deadline,
            keep_script=kept is not None,
        )
        if kept:
            kept.hand_over(place.script, uid=job.owner.uid, gid=job.owner.gid)
        attempts.forget(site.paths.state, job.slug)
        return GO_ON
    except Exception as error:
        return Led(job=job, site=site, redirected=redirected).fail(as_error(error))
    finally:
        if kept:
            kept.forget()


def _wrap(job: Job, place: JobDir) -> KeptScript:
    if job.script is None:
        raise SiteError(
            "an interactive job can't be led to its guest: the mom has no job starter of ours",
            hint="set $job_starter in mom_priv/config; see: vmbatch doctor",
        )
    return put_wrapper(job.script, job.id, place.run, saved=place.script)


def _refuse_more_nodes(job: Job, home: Path) -> None:
    if len(hosts(job.id, mom_home=home, environ=os.environ)) > 1:
        raise _one_node_only()


def _one_node_only() -> RequestError:
    return RequestError(
        "the job asks for a guest and for more than one node: a guest has one node only for now",
        hint="submit it with nodes=1, or without other=",
    )


def _epilogue(arguments: Sequence[str]) -> int:
    """Release what the job had; its exit code is only for the log of the mom."""
    try:
        from vmbatch.lifecycle import release

        site, _ = _load_site()
        call = parse_epilogue(arguments)
        limit = read_mom_config(mom_home() / "mom_priv" / "config").script_limit
        deadline = Deadline.after(min(site.timeouts.release, limit - process_age()))
        KeptScript(Path(arguments[10])).forget()
        release(call.job_id, site=site, deadline=deadline)
        if call.exit_status != RETRY:
            attempts.forget(site.paths.state, slug_of(call.job_id))
    except Exception as error:
        log.error("epilogue: %s", str(as_error(error)).replace("\n", "; "))
        return ABORT
    return GO_ON
