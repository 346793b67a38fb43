"""What the submitter asks for: the grammar of ``-l other=``.

::

    request = part *( "+" part )
    part    = key ( "=" / ":" ) value
    key     = "vbuserimage" / another image key of the template / "vcpus" / "ram" / "profile"

In a value, ``+``, ``,`` and ``%`` are written as ``%2B``, ``%2C`` and ``%25``; any byte may be
written so, and the bytes must be UTF-8 text without control characters. The text is the
submitter's: whatever it holds, the answer is a `Request` or a `RequestError`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Protocol

from vmbatch.errors import RequestError
from vmbatch.policy import DEFAULT_IMAGE_KEY as DEFAULT_IMAGE_KEY
from vmbatch.policy import OWN_KEYS, find_others, key_of, matches
from vmbatch.size import format_size, parse_size

MOST_VCPUS = 4096

_LONGEST = 2048
_LONGEST_VALUE = 255
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
_PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_COUNT = re.compile(r"[0-9]{1,9}")
_EXAMPLE = "write it like this: other=vbuserimage=tiny+vcpus=2+ram=1G"


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a job asks for; None is what it leaves to the profile.

    Args:
        images: (key, image): the key is what the template gives as ``<vbuserimage name=…>``.
        vcpus: virtual processors.
        ram_mib: memory in MiB.
        profile: name of a profile of the site.
    """

    images: tuple[tuple[str, str], ...] = ()
    vcpus: int | None = None
    ram_mib: int | None = None
    profile: str | None = None


class Limits(Protocol):
    """What `check_request` needs of a profile, see `vmbatch.config.Profile`."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def images(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def vcpus(self) -> int | None: ...  # noqa: D102
    @property
    def max_vcpus(self) -> int | None: ...  # noqa: D102
    @property
    def ram_mib(self) -> int: ...  # noqa: D102
    @property
    def max_ram_mib(self) -> int | None: ...  # noqa: D102


def find_other(resources: str) -> str | None:
    """Return the text of ``other=`` in a Torque resource list, None where there is none.

    Raises:
        RequestError: there are several, so that nobody can tell which one the user means.
    """
    found = find_others(resources)
    if len(found) > 1:
        raise RequestError(
            f"the resource list has {len(found)} entries other=: {_shown(found[0])} and "
            f"{_shown(found[1])}",
            hint="give other= once, and write %2C for a comma in a value",
        )
    return found[0] if found else None


def parse_request(
    text: str, *, image_keys: Collection[str] = (DEFAULT_IMAGE_KEY,), ignore: Collection[str] = ()
) -> Request:
    """Parse what stands after ``other=``.

    Args:
        text: the submitter's text.
        image_keys: keys that name an image, as the template gives them.
        ignore: patterns of keys that are somebody else's; their parts are not looked at.

    Raises:
        RequestError: it is not a request; names key, value, place and what is allowed.
    """
    if len(text) > _LONGEST:
        raise RequestError(
            f"the request is {len(text)} characters long, the most is {_LONGEST}", hint=_EXAMPLE
        )
    values: dict[str, str] = {}
    place = 1
    for part in text.split("+"):
        key = key_of(part)
        if not matches(key, ignore):
            _check_key(key, part, place, (*image_keys, *OWN_KEYS))
            if key in values:
                raise RequestError(
                    f"the request gives {key} twice, the second time at character {place}",
                    hint=f"give {key} once",
                )
            values[key] = _value(key, part[len(key) + 1 :], place + len(key) + 1)
        place += len(part) + 1
    return _typed(values, image_keys)


def _check_key(key: str, part: str, place: int, allowed: tuple[str, ...]) -> None:
    if not part:
        raise RequestError(
            f"the request has an empty part at character {place}",
            hint="parts are joined with one +; a + in a value is written %2B",
        )
    if key not in allowed:
        near = get_close_matches(key, allowed, 1)
        guess = f"did you mean {near[0]}? " if near else ""
        raise RequestError(
            f"the request has an unknown key {_shown(key)} at character {place}",
            hint=f"{guess}allowed are: {', '.join(allowed)}",
        )
    if key == part:
        raise RequestError(
            f"the request's key {key} at character {place} has no value", hint=_EXAMPLE
        )


def _value(key: str, raw: str, place: int) -> str:
    """Decode a value; `place` is that of its first character."""
    at = f"the value of {key} at character {place}"
    if not raw:
        raise RequestError(f"{at} is empty", hint=_EXAMPLE)
    bad = re.search("%(?![0-9A-Fa-f]{2})", raw)
    if bad:
        raise RequestError(
            f"{at}, {_shown(raw)}, has a % without two hex digits at character "
            f"{place + bad.start()}",
            hint="write %25 for a percent sign",
        )
    try:
        value = _decoded(raw)
    except UnicodeError:
        raise RequestError(
            f"{at}, {_shown(raw)}, is not UTF-8", hint="use UTF-8 for all but ASCII characters"
        ) from None
    if not value.isprintable():
        raise RequestError(f"{at}, {_shown(raw)}, holds a control character", hint="leave it out")
    if len(value) > _LONGEST_VALUE:
        raise RequestError(
            f"{at} is {len(value)} characters long, the most is {_LONGEST_VALUE}", hint="shorten it"
        )
    return value


def _decoded(raw: str) -> str:
    data = re.sub(rb"%([0-9A-Fa-f]{2})", lambda hit: bytes.fromhex(hit[1].decode()), raw.encode())
    return data.decode()


def _typed(values: Mapping[str, str], image_keys: Collection[str]) -> Request:
    images = tuple((key, value) for key, value in values.items() if key in image_keys)
    for key, value in images:
        if not _IMAGE.fullmatch(value):
            raise _refused(
                key, value, "the name of an image in the store: letters, digits, . _ + -"
            )
    profile = values.get("profile")
    if profile is not None and not _PROFILE.fullmatch(profile):
        raise _refused("profile", profile, "the name of a profile: letters, digits, _ -")
    return Request(
        images=images,
        vcpus=_vcpus(values["vcpus"]) if "vcpus" in values else None,
        ram_mib=_ram(values["ram"]) if "ram" in values else None,
        profile=profile,
    )


def _vcpus(text: str) -> int:
    if not _COUNT.fullmatch(text) or not 1 <= int(text) <= MOST_VCPUS:
        raise _refused("vcpus", text, f"a whole number from 1 to {MOST_VCPUS}")
    return int(text)


def _ram(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise _refused("ram", text, str(error)) from None


def check_request(request: Request, profile: Limits) -> Request:
    """Hold a request against a profile's limits, and return it.

    Args:
        request: what the job asks for.
        profile: its profile.

    Raises:
        RequestError: it is beyond a limit; names key, value and limit.
    """
    for key, image in request.images:
        _check_image(key, image, profile)
    most = profile.max_vcpus or max(os.cpu_count() or 1, profile.vcpus or 1)
    if request.vcpus is not None and request.vcpus > most:
        raise _beyond("vcpus", str(request.vcpus), str(most), profile)
    most = profile.max_ram_mib or max(_node_memory(), profile.ram_mib)
    if request.ram_mib is not None and request.ram_mib > most:
        raise _beyond("ram", format_size(request.ram_mib), format_size(most), profile)
    return request


def _check_image(key: str, image: str, profile: Limits) -> None:
    if not any(fnmatchcase(image, allowed) for allowed in profile.images):
        raise RequestError(
            f"{key}={image}: the profile {profile.name} does not allow this image",
            hint=f"allowed are: {', '.join(profile.images) or 'none'}",
        )


def _node_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20


def _beyond(key: str, value: str, limit: str, profile: Limits) -> RequestError:
    return RequestError(
        f"{key}={value} is beyond the limit of {limit} in the profile {profile.name}",
        hint=f"ask for {key}={limit} at most",
    )


def _refused(key: str, value: str, allowed: str) -> RequestError:
    return RequestError(f"{key}={_shown(value)} is refused", hint=f"allowed is {allowed}")


def _shown(text: str) -> str:
    """Quote the submitter's text so that it can't harm a terminal or a log."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")
