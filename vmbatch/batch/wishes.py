"""From a job to what its guest is to be: the request, held against the site's limits."""

from __future__ import annotations

from dataclasses import dataclass

from vmbatch.config import Profile, Site, choose_profile, template_file
from vmbatch.job import Job
from vmbatch.policy import asks, key_of
from vmbatch.request import (
    DEFAULT_IMAGE_KEY,
    Request,
    check_request,
    find_other,
    parse_request,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """What a job's guest is to be.

    Args:
        profile: the site's part.
        text: the submitter's part, as written.
    """

    profile: Profile
    text: str

    def request(self, site: Site) -> Request:
        """Parse the submitter's part and hold it against the profile.

        Raises:
            RequestError: it is not well-formed, or beyond a limit.
            TemplateError: the profile's template can't be used.
        """
        request = Request()
        if self.text:
            request = parse_request(
                self.text, image_keys=_image_keys(self.profile, site), ignore=site.request.ignore
            )
        return check_request(request, self.profile)


def wishes_of(job: Job, site: Site) -> Wishes | None:
    """Return what the job and the site wish for, or None for bare metal.

    Raises:
        RequestError: the request can't be told from the resource list, or names a profile that is
            not for such jobs.
    """
    asking = asks(job.resources, site.request.ignore)
    text = (find_other(job.resources) or "") if asking else ""
    profile = choose_profile(
        site,
        queue=job.queue,
        user=job.owner.name,
        groups=lambda: [name for name, _ in job.owner.groups],
        asks=asking,
        wanted=_wanted_profile(text),
    )
    return Wishes(profile=profile, text=text) if profile else None


def _wanted_profile(text: str) -> str | None:
    for part in text.split("+"):
        if key_of(part) == "profile":
            return parse_request(part).profile
    return None


def _image_keys(profile: Profile, site: Site) -> tuple[str, ...]:
    from vmbatch.domainxml.parse import parse_template

    template = parse_template(template_file(site, profile))
    keys = (disk.user_image for disk in template.disks if disk.user_image)
    return tuple(dict.fromkeys([DEFAULT_IMAGE_KEY, *keys]))
