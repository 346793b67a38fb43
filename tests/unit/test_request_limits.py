"""A request against the limits of a profile."""

import os

import pytest

from vmbatch.config import Profile
from vmbatch.errors import RequestError
from vmbatch.request import Request, check_request
from vmbatch.size import format_size, parse_size

pytestmark = pytest.mark.unit

LIMITED = Profile(name="small", images=("tiny", "deb*"), max_vcpus=4, max_ram_mib=2048)
OPEN = Profile(name="open", vcpus=2, ram_mib=1024)


def wish(**values: object) -> Request:
    return Request(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (wish(vcpus=5), ["vcpus=5", "limit of 4", "profile small"]),
        (wish(ram_mib=4096), ["ram=4G", "limit of 2G", "profile small"]),
        (wish(images=(("data", "win"),)), ["data=win", "profile small", "tiny, deb*"]),
        (wish(images=(("vbuserimage", "Tiny"),)), ["vbuserimage=Tiny"]),
    ],
)
def test_beyond(request_: Request, words: list[str]) -> None:
    with pytest.raises(RequestError) as caught:
        check_request(request_, LIMITED)
    for word in words:
        assert word in str(caught.value)


def test_within() -> None:
    images = (("vbuserimage", "tiny"), ("data", "debian12"))
    asked = wish(images=images, vcpus=4, ram_mib=2048)
    assert check_request(asked, LIMITED) is asked


def test_what_the_profile_gives_unasked_may_be_asked_for() -> None:
    check_request(wish(vcpus=2, ram_mib=1024), OPEN)


def test_without_a_share_the_node_is_the_limit() -> None:
    most = max(os.cpu_count() or 1, OPEN.vcpus)
    check_request(wish(vcpus=most), OPEN)
    with pytest.raises(RequestError, match=f"the limit of {most}"):
        check_request(wish(vcpus=most + 1), OPEN)
    with pytest.raises(RequestError, match="ram=64T is beyond"):
        check_request(wish(ram_mib=64 << 20), OPEN)


@pytest.mark.parametrize("mib", [1, 512, 1023, 1024, 1536, 1 << 20, 64 << 20])
def test_sizes_survive_writing(mib: int) -> None:
    assert parse_size(format_size(mib)) == mib
