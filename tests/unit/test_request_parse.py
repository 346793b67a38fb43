"""The grammar of `-l other=`: what is understood, and that all else is refused by name."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vmbatch.errors import RequestError
from vmbatch.request import Request, find_other, parse_request

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vbuserimage=tiny", Request(images=(("vbuserimage", "tiny"),))),
        ("vbuserimage:tiny", Request(images=(("vbuserimage", "tiny"),))),
        ("vbuserimage=c%2B%2B.1", Request(images=(("vbuserimage", "c++.1"),))),
        (
            "vbuserimage=deb12+vcpus=2+ram=1G+profile=big",
            Request(images=(("vbuserimage", "deb12"),), vcpus=2, ram_mib=1024, profile="big"),
        ),
        ("data=d1+vbuserimage=a", Request(images=(("data", "d1"), ("vbuserimage", "a")))),
        ("ram=768", Request(ram_mib=768)),
        ("ram=2048K", Request(ram_mib=2)),
        ("ram=3t", Request(ram_mib=3 << 20)),
        ("ram=%31G", Request(ram_mib=1024)),
        ("scratch=100%zz+vcpus=1+licence.matlab", Request(vcpus=1)),
    ],
)
def test_understood(text: str, expected: Request) -> None:
    parsed = parse_request(text, image_keys=("vbuserimage", "data"), ignore=("scratch", "licence*"))
    assert parsed == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["empty part", "character 1"]),
        ("vbuserimage=a+", ["empty part", "character 15"]),
        ("vbuserimage=c++", ["empty part", "%2B"]),
        ("vbuserimage", ["vbuserimage", "no value"]),
        ("vbuserimage=", ["vbuserimage", "empty", "character 13"]),
        ("vcpus=1+vbusreimage=a", ["'vbusreimage'", "character 9", "mean vbuserimage?", "profile"]),
        ("vbuserimage=a+vbuserimage=b", ["vbuserimage twice", "character 15"]),
        ("vbuserimage=a+vbuserimage:a", ["vbuserimage twice"]),
        ("vbuserimage=a%2", ["vbuserimage", "two hex digits", "character 14"]),
        ("vbuserimage=%+1", ["two hex digits"]),
        ("vbuserimage=a%00", ["control character"]),
        ("vbuserimage=a%0A", ["control character"]),
        ("vbuserimage=a\nb", ["control character"]),
        ("vbuserimage=%C2%85", ["control character"]),
        ("vbuserimage=%E2%80%AE", ["control character"]),
        ("vbuserimage=a%FF", ["not UTF-8"]),
        ("vbuserimage=a\udcff", ["not UTF-8"]),
        ("vbuserimage=../etc/passwd", ["vbuserimage='../etc/passwd'", "letters"]),
        ("vbuserimage=http://host/a.img", ["vbuserimage", "letters"]),
        ("vbuserimage=.a", ["vbuserimage='.a'"]),
        ("vbuserimage=-a", ["vbuserimage='-a'"]),
        ("vbuserimage=" + "a" * 129, ["vbuserimage", "letters"]),
        ("vbuserimage=" + "a" * 256, ["256 characters", "255"]),
        ("vbuserimage=" + "a" * 3000, ["characters long", "2048"]),
        ("vcpus=0", ["vcpus='0'", "from 1 to 4096"]),
        ("vcpus=4097", ["vcpus='4097'", "4096"]),
        ("vcpus=-1", ["vcpus='-1'"]),
        ("vcpus=%2B1", ["vcpus='+1'"]),
        ("vcpus=1.0", ["vcpus='1.0'"]),
        ("vcpus=\u0661", ["vcpus="]),
        ("vcpus=" + "9" * 200, ["vcpus="]),
        ("ram=1.5G", ["ram='1.5G'", "whole number"]),
        ("ram=-1G", ["ram='-1G'"]),
        ("ram=0", ["ram='0'", "1M"]),
        ("ram=100K", ["ram='100K'", "1024K"]),
        ("ram=1E", ["ram='1E'"]),
        ("ram=999999999999T", ["ram=", "64T"]),
        ("ram= 1G", ["ram=' 1G'"]),
        ("profile=a/b", ["profile='a/b'"]),
        ("profile=a.b", ["profile='a.b'"]),
        ("VCPUS=1", ["'VCPUS'", "unknown"]),
        ("licence=1+vcpus=1", ["unknown", "'licence'"]),
    ],
)
def test_refused(text: str, words: list[str]) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request(text)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_a_message_cannot_harm_a_terminal() -> None:
    with pytest.raises(RequestError) as caught:
        parse_request("\x1b[2Jé=\x07")
    assert str(caught.value).replace("\n", "").isprintable()
    assert caught.value.message.isascii()


PARTS = st.one_of(
    st.text(alphabet="vbuserimagcpfol=:+%,0123456789GMKT\n\x00 é\udcff", max_size=40),
    st.sampled_from(["vbuserimage=tiny", "vcpus=2", "ram=1G", "profile=big", "%2B", "="]),
)


def outcome(text: str) -> Request | RequestError:
    try:
        return parse_request(text)
    except RequestError as error:
        return error


@given(st.one_of(st.text(), st.lists(PARTS, max_size=5).map("+".join)))
@example("ram=%C3%A9")
@example("profile=" + "\udcff" * 70)
def test_nothing_but_a_request_or_its_error(text: str) -> None:
    result = outcome(text)
    if isinstance(result, RequestError):
        assert result.message.isprintable()
        assert result.message.isascii()
        return
    assert all(value.isascii() for _, value in result.images)
    assert result.vcpus is None or 1 <= result.vcpus <= 4096
    assert result.ram_mib is None or 1 <= result.ram_mib <= 64 << 20


NAMES = st.from_regex("[A-Za-z0-9][A-Za-z0-9._+-]{0,60}", fullmatch=True)


@given(NAMES, st.integers(1, 4096), st.integers(1, 64 << 20))
def test_what_is_written_is_what_is_read(image: str, vcpus: int, ram: int) -> None:
    encoded = "".join(f"%{ord(sign):02x}" for sign in image)
    half = image.replace("%", "%25").replace("+", "%2B")
    for value in (encoded, half):
        parsed = parse_request(f"vcpus:{vcpus}+vbuserimage={value}+ram={ram}M")
        assert parsed == Request(images=(("vbuserimage", image),), vcpus=vcpus, ram_mib=ram)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ("", None),
        ("nodes=1:ppn=2,walltime=00:10:00,neednodes=1:ppn=2", None),
        ("other=vbuserimage=a,nodes=1", "vbuserimage=a"),
        ("nodes=1,other=vbuserimage:a+ram=1G,neednodes=1", "vbuserimage:a+ram=1G"),
        ("nodes=1,other=", None),
        ("nodes=1, other=a=b", "a=b"),
        ("another=1,nodes=1", None),
        ("gres=other=1", None),
        ("other=a\nb,nodes=1", "a\nb"),
    ],
)
def test_other_is_found(resources: str, expected: str | None) -> None:
    assert find_other(resources) == expected


def test_two_others_are_ambiguous() -> None:
    with pytest.raises(RequestError, match="2 entries other=: 'a=1' and 'vbuserimage=b'"):
        find_other("other=a=1,other=vbuserimage=b,nodes=1")
