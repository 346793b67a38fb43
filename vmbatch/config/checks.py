"""What must hold between the keys of a site file, and of the files that it names."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from vmbatch.config import trust
from vmbatch.config.model import Profile, Site
from vmbatch.policy import DEFAULT_IMAGE_KEY, OWN_KEYS, matches
from vmbatch.size import format_size

_PACKAGE = Path(__file__).resolve().parents[2]

Finding = tuple[str, str]
"""(dotted key, what is wrong with it)"""


def between_keys(site: Site) -> Iterator[Finding]:
    """Yield contradictions between keys."""
    network = site.network
    if network.first_port > network.last_port:
        yield "network.last_port", f"{network.last_port} is below first_port {network.first_port}"
    for word in (DEFAULT_IMAGE_KEY, *OWN_KEYS):
        if matches(word, site.request.ignore):
            yield "request.ignore", f"would have us ignore our own key {word}"
    for profile in site.profiles.values():
        yield from _in_profile(profile)
    for number, rule in enumerate(site.rules):
        if rule.profile is not None and rule.profile not in site.profiles:
            yield f"rules[{number}].profile", f"there is no profile {rule.profile}"
        for name in rule.allow:
            if not any(matches(profile, (name,)) for profile in site.profiles):
                yield f"rules[{number}].allow", f"there is no profile {name}"


def _in_profile(profile: Profile) -> Iterator[Finding]:
    where = f"profiles.{profile.name}"
    most, ram = profile.max_vcpus, profile.max_ram_mib
    if most is not None and (profile.vcpus or 1) > most:
        yield f"{where}.max_vcpus", f"{most} is below vcpus, {profile.vcpus}"
    if ram is not None and profile.ram_mib > ram:
        yield f"{where}.max_ram", f"{format_size(ram)} is below ram, {format_size(profile.ram_mib)}"
    image = profile.image
    if image is not None and not any(fnmatchcase(image, glob) for glob in profile.images):
        yield f"{where}.image", f"{image} is not among images"


def template_file(site: Site, profile: Profile) -> Path:
    """Return the path of a profile's domain template."""
    return (site.paths.templates or _PACKAGE / "templates-vm") / profile.template


def named_files(site: Site, owners: Collection[int] = trust.ROOT_ONLY) -> Iterator[Finding]:
    """Yield which files and programs that the site file names are not there or not root's alone.

    Args:
        site: the site file.
        owners: uids that are trusted; anything but root's is for tests.
    """
    for profile in site.profiles.values():
        named = {"template": template_file(site, profile)}
        if profile.prolog is not None:
            named["prolog"] = profile.prolog
        if profile.epilog is not None:
            named["epilog"] = profile.epilog
        for name, path in named.items():
            for fault in trust.faults(path, owners):
                yield f"profiles.{profile.name}.{name}", fault
            if path.exists() and not path.is_file():
                yield f"profiles.{profile.name}.{name}", f"{path} is not a file"
