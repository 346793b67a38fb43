"""Reading the site file: values, defaults, and every way in which it can be wrong."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmbatch.config import Profile, Site, choose_profile, load_site, template_file
from vmbatch.config.build import build
from vmbatch.config.document import Document
from vmbatch.config.load import read_site
from vmbatch.errors import ConfigError, RequestError

pytestmark = pytest.mark.unit


@pytest.fixture
def load(tmp_path: Path):  # type: ignore[no-untyped-def]
    def _load(text: str | bytes) -> Site:
        path = tmp_path / "site.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(0o644)
        return load_site(path)

    return _load


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "null\n", "profiles:\nrules:\npaths:\n"]
)
def test_an_empty_file_has_the_defaults(load, text: str) -> None:  # type: ignore[no-untyped-def]
    site = load(text)
    assert site.profiles == {"default": Profile(name="default")}
    assert site.paths == Site().paths
    assert site.rules == ()


def test_no_file_has_the_defaults(tmp_path: Path) -> None:
    site = load_site(tmp_path / "nothing" / "site.yaml")
    assert site.file == tmp_path / "nothing" / "site.yaml"
    assert site.network == Site().network


def test_values(load) -> None:  # type: ignore[no-untyped-def]
    site = load(
        """
paths: {state: /a/b, templates: /t}
libvirt: {uri: "qemu+unix:///system?socket=/x"}
request: {ignore: scratch}
torque: {max_requeues: 0, reserve: 2.5, prologue_limit: 290}
shares: {mode: off, home: Yes}
timeouts: {ready: ~}
local: {user: bob}
profiles:
  big: {ram: 16G, max_ram: null, images: tiny, prolog: /etc/p.sh, vcpus: 008}
rules:
  - queue: [a, b*]
    user: 123
    profile: big
  - {asks: false, profile: none}
  - {profile: ~}
"""
    )
    assert (site.paths.state, site.paths.templates) == (Path("/a/b"), Path("/t"))
    assert site.libvirt.uri == "qemu+unix:///system?socket=/x"
    assert site.request.ignore == ("scratch",)
    torque = site.torque
    assert (torque.max_requeues, torque.reserve) == (0, 2.5)
    assert torque.prologue_limit == 290.0
    assert (site.shares.mode, site.shares.home) == ("off", True)
    assert site.timeouts.ready is None
    assert site.local.user == "bob"
    big = site.profiles["big"]
    assert (big.ram_mib, big.max_ram_mib, big.images, big.vcpus) == (16384, None, ("tiny",), 8)
    assert big.prolog == Path("/etc/p.sh")
    assert [rule.profile for rule in site.rules] == ["big", None, None]
    assert (site.rules[0].queues, site.rules[0].users) == (("a", "b*"), ("123",))
    assert site.rules[1].asks is False
    assert site.lines["profiles.big.ram"] == 10


def test_profiles_have_the_rest_from_default(load) -> None:  # type: ignore[no-untyped-def]
    site = load("profiles: {big: {ram: 2G}, default: {ram: 1G, vcpus: 4, image: a, images: [a]}}")
    big = site.profiles["big"]
    assert (big.name, big.ram_mib, big.vcpus, big.image) == ("big", 2048, 4, "a")
    assert site.profiles["default"].ram_mib == 1024


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pathes: {}", [":1: pathes: unknown key", "did you mean paths?"]),
        ("network:\n  frist_port: 1", [":2: network.frist_port: unknown", "mean first_port?"]),
        (
            "network: {first_port: 80}",
            ["first_port: found '80', expected a whole number from 1024"],
        ),
        ("network: {first_port: 1e4}", ["found '1e4'"]),
        ("network: {first_port: 12:30}", ["found '12:30'"]),
        ("network: {first_port: }", ["found nothing, expected a whole number"]),
        ("network: {first_port: [1]}", ["a value of another shape"]),
        ("network: {first_port: 42009, last_port: 42001}", ["last_port: 42001 is below"]),
        ("network: {outbound: maybe}", ["true or false"]),
        ("network:\n  outbound: true\n  outbound: true", [":3: ", "given twice, first in line 2"]),
        ("rules: []\nrules: []", [":2: rules: given twice"]),
        ("paths: {state: var/lib}", ["an absolute path"]),
        ("paths: {state: /var/../lib}", ["an absolute path"]),
        ('paths: {state: "/a\\nb"}', ["an absolute path"]),
        ("paths: /var", [":1: paths: expected keys with values"]),
        ("[1]", [":1: expected keys with values"]),
        ("? [a]\n: 1", ["expected a word as a key"]),
        ("<<: {paths: {}}", ["<<: unknown key"]),
        ("libvirt: {uri: system}", ["a libvirt URI"]),
        ("libvirt: {uri: !!python/name:os.system x}", ["a value of another shape"]),
        ("request: {ignore: [vbuser*]}", ["our own key vbuserimage"]),
        ("request: {ignore: ['*']}", ["expected a key"]),
        ("request: {ignore: }", ["expected a list"]),
        ("request: {ignore: [[a]]}", ["a value of another shape"]),
        ("torque: {reserve: -1}", ["seconds from 1 to 300"]),
        ("torque: {reserve: .inf}", ["seconds from 1"]),
        ("shares: {mode: nfs}", ["one of auto, 9p, smb, off"]),
        ("profiles: {default: {ram: 1.5G}}", ["profiles.default.ram: found '1.5G'"]),
        ("profiles: {default: {ram_mib: 1}}", ["unknown key", "did you mean ram?"]),
        ("profiles: {default: {name: x}}", ["profiles.default.name: unknown key"]),
        ("profiles: {none: {}}", ["profiles.none: not fit as a name"]),
        ("profiles: {a.b: {}}", ["not fit as a name"]),
        ("profiles: [a]", ["profiles: expected keys"]),
        ("profiles: {default: {vcpus: 4, max_vcpus: 2}}", ["max_vcpus: 2 is below vcpus, 4"]),
        ("profiles:\n  a: {ram: 1G}\n  default: {max_ram: 600M}", ["profiles.a.max_ram: 600M"]),
        ("profiles: {default: {image: a, images: [b*]}}", ["image: a is not among images"]),
        ("profiles: {default: {template: ../x.xml}}", ["an .xml file in paths.templates"]),
        ("profiles: {default: {template: /a/../x.xml}}", ["an .xml file in paths.templates"]),
        ("rules: {queue: a}", ["expected a list of rules"]),
        ("rules:\n  - {profile: none}\n  - {queue: a}", [":3: rules[1]: has no profile"]),
        ("rules: [{queue: a*b, profile: none}]", ["rules[0].queue: found 'a*b'"]),
        ("rules: [{profile: big}]", ["rules[0].profile: there is no profile big"]),
        ("rules: [{profile: default, allow: b*}]", ["allow: there is no profile b*"]),
        ("rules: [{profil: none}]", ["did you mean profile?"]),
        ("a: [", [": not YAML: "]),
        ("a: b\n---\nc: d", [": not YAML: "]),
        ("a: \x01", ["not YAML", "control characters"]),
        (b"paths:\n  state: /\xff", [":2: not UTF-8"]),
        ("a: *b", ["undefined alias"]),
        ("a:\n  " + "[" * 200_000, [":2: nested deeper"]),
        ("- " * 200_000, [":1: nested deeper"]),
    ],
)
def test_what_is_wrong_is_told_with_its_line(load, text: str, words: list[str]) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError) as caught:
        load(text)
    told = str(caught.value)
    assert "site.yaml:" in told
    assert caught.value.hint
    assert "\n" not in caught.value.message
    for word in words:
        assert word in told


def test_all_problems_are_found_at_once(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("network: {first_port: 1, last_port: 2}\nshares: {mode: x}\nrules: [{}]\n")
    path.chmod(0o600)
    _, problems = read_site(path)
    assert [(problem.line, problem.key) for problem in problems] == [
        (1, "network.first_port"),
        (1, "network.last_port"),
        (2, "shares.mode"),
        (3, "rules[0]"),
    ]
    with pytest.raises(ConfigError, match=r"\(and 3 more\)"):
        load_site(path)


WORDS = [
    *("paths", ": ", "{", "}", "[", "]", "\n", "  ", "- ", "rules", "profiles", "default"),
    *("ram", "profile", "&a", "*a", "!!int ", "!!map ", "null", "? ", "'"),
]


@given(
    st.lists(
        st.one_of(
            st.text(max_size=8),
            st.sampled_from(WORDS),
        ),
        max_size=12,
    ).map("".join)
)
def test_any_text_is_read_or_complained_about(text: str) -> None:
    document = Document(file="site.yaml")
    values = build(document, document.compose(text))
    assert document.problems or Site(**values).profiles["default"]


def test_choose_profile(load) -> None:  # type: ignore[no-untyped-def]
    site = load(
        "profiles: {big: {}, own: {}}\n"
        "rules: [{queue: vm, profile: own, allow: default}, {queue: bare, profile: none}]"
    )

    def choose(queue: str, *, asks: bool = True, wanted: str | None = None) -> str | None:
        found = choose_profile(
            site, queue=queue, user="alice", groups=list, asks=asks, wanted=wanted
        )
        return found.name if found else None

    assert choose("batch") == "default"
    assert choose("batch", asks=False) is None
    assert choose("batch", wanted="big") == "big"
    assert choose("vm", asks=False) == "own"
    assert choose("vm", wanted="default") == "default"
    assert choose("vm", wanted="own") == "own"
    assert choose("bare", wanted="big") is None
    with pytest.raises(
        RequestError, match=r"profile=big is not for this job.*'vm' the profile own"
    ):
        choose("vm", wanted="big")
    with pytest.raises(RequestError, match="profile=huge: there is no such profile") as caught:
        choose("batch", wanted="huge")
    assert "default, big, own" in caught.value.hint


def test_template_file(load) -> None:  # type: ignore[no-untyped-def]
    site = load("paths: {templates: /t}\nprofiles: {a: {template: w.xml}, b: {template: /x/y.xml}}")
    found = {name: str(template_file(site, profile)) for name, profile in site.profiles.items()}
    assert found == {"default": "/t/linux.xml", "a": "/t/w.xml", "b": "/x/y.xml"}
    assert template_file(Site(), Profile(name="default")).is_file()
