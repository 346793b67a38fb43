"""From the site file to what the fast path and the adapters decide by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from vmbatch import policy
from vmbatch.config.load import load_site
from vmbatch.config.model import Profile, Site
from vmbatch.errors import ConfigError, RequestError


def policy_rules(site: Site) -> tuple[policy.Rule, ...]:
    """Return the site's rules as `vmbatch.policy.decide` takes them."""
    return tuple(
        (rule.queues, rule.users, rule.groups, rule.asks, rule.profile, rule.allow)
        for rule in site.rules
    )


def compile_site(site: Site) -> policy.Compiled:
    """Return what the fast path needs of a site file."""
    return policy.Compiled(
        identity=site.identity,
        rules=policy_rules(site),
        ignore=site.request.ignore,
        state=str(site.paths.state),
        run=str(site.paths.run),
        log=str(site.paths.log),
    )


def refresh_policy(site_file: str | None = None) -> policy.Compiled:
    """Read the site file and leave its compiled copy for the jobs to come.

    Where the copy can't be written, the next job reads the site file again.

    Args:
        site_file: its path; None: `vmbatch.config.site_file`'s.

    Raises:
        ConfigError: the site file can't be used, or one was named and is not there.
    """
    site = load_site(Path(site_file) if site_file else None)
    file = str(site.file)
    if file != policy.DEFAULT_SITE_FILE and not site.identity[-1]:
        raise ConfigError(f"there is no site file {file}", hint="correct VMBATCH_CONFIG")
    compiled = compile_site(site)
    with suppress(OSError):
        policy.write_compiled(policy.cache_dir(file), compiled)
    return compiled


def choose_profile(
    site: Site,
    *,
    queue: str,
    user: str,
    groups: Callable[[], Iterable[str]],
    asks: bool,
    wanted: str | None = None,
) -> Profile | None:
    """Return the profile of a job's guest, or None for bare metal.

    Args:
        site: the site file.
        queue: the job's queue.
        user: its owner.
        groups: gives the names of the owner's groups; called when a rule needs them.
        asks: whether the job asks for a guest.
        wanted: the profile that the job names, `Request.profile`.

    Raises:
        RequestError: the profile that the job names does not exist, or is not for such jobs.
    """
    if wanted is not None and wanted not in site.profiles:
        raise RequestError(
            f"profile={wanted}: there is no such profile",
            hint=f"the site has: {', '.join(site.profiles)}",
        )
    name = policy.decide(
        policy_rules(site),
        queue=queue,
        user=user,
        groups=groups,
        asks=asks,
        wanted_profile=wanted,
    )
    if name is None:
        return None
    if wanted not in (None, name):
        raise RequestError(
            f"profile={wanted} is not for this job: the site's rules give {user}'s jobs "
            f"in the queue {queue!r} the profile {name}",
            hint=f"leave profile= out of the request, or give profile={name}",
        )
    return site.profiles[name]
