"""The site file as typed values, and its table of keys: names, kinds, defaults, meaning."""

# ruff: noqa: RUF009 - key() is dataclasses.field() with a table behind it, all values are immutable
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from vmbatch.config import kinds
from vmbatch.config.table import key
from vmbatch.policy import DEFAULT_PROFILE, DEFAULT_SITE_FILE, Identity

PROFILE_NAME = re.compile(r"(?!none$)[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_IMAGE = "[A-Za-z0-9][A-Za-z0-9._+-]{0,127}"
_PATTERN = kinds.name(r"[^\s*,+%]+\*?|\*", "a name, or the beginning of one with a * at its end")
_IGNORED = kinds.name(r"[A-Za-z_][A-Za-z0-9_.-]*\*?", "a key, or the beginning of one with a *")
_USER = kinds.name("[A-Za-z_][A-Za-z0-9_.@-]{0,63}", "a login name")
_URI = kinds.name(r"[a-z][a-z+]*://[!-~]*", "a libvirt URI such as qemu:///system")
_IMAGE_GLOB = kinds.name(r"[A-Za-z0-9._+*?\[\]!-]+", "an image's name; * and ? stand for any text")
_TEMPLATE = kinds.name(
    r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.xml|/(?!.*/\.\./)[!-~]+\.xml",
    "the name of an .xml file in paths.templates, or an absolute path",
)
_SCRIPT = kinds.path().or_none("no script")


@dataclass(frozen=True, kw_only=True, slots=True)
class Paths:
    """Where things are kept on the node."""

    state: Path = key(
        kinds.path(),
        "What outlives a reboot: a directory for each job, the default image store.",
        default=Path("/var/lib/vmbatch"),
    )
    run: Path = key(
        kinds.path(),
        "What does not outlive a reboot: tokens of jobs, locks, leases of ports.",
        default=Path("/run/vmbatch"),
    )
    images: Path = key(kinds.path(), "The image store.", default=Path("/var/lib/vmbatch/images"))
    templates: Path | None = key(
        kinds.path().or_none("the templates that come with vmbatch"),
        "Where the domain templates are.",
        default=None,
    )
    log: Path = key(
        kinds.path(), "The log of the suite.", default=Path("/var/log/vmbatch/vmbatch.log")
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Libvirt:
    """The connection to libvirt."""

    uri: str = key(_URI, "Where libvirtd listens.", default="qemu:///system")


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestOptions:
    """What users write after `-l other=`."""

    ignore: tuple[str, ...] = key(
        _IGNORED.list(),
        "Keys in `other=` that belong to another user of it. They are passed over, and a job that "
        "gives no others does not ask for a guest.",
        default=(),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Torque:
    """Torque and its pbs_mom."""

    home: Path = key(kinds.path(), "Torque's home on the node.", default=Path("/var/spool/torque"))
    max_requeues: int = key(
        kinds.whole(0, 100),
        "How often a job is put back into its queue because of a fault of the node, before it "
        "fails with a message.",
        default=3,
    )
    reserve: float = key(
        kinds.seconds(1, 300),
        "How much of the prologue's time limit is kept to clean up after a failed start.",
        default=10.0,
    )
    prologue_limit: float | None = key(
        kinds.seconds(5, 86400).or_none("as the mom's configuration says (`$prologalarm`)"),
        "After how long pbs_mom kills a prologue.",
        default=None,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Shares:
    """Directories of the owner in the guest."""

    mode: str = key(
        kinds.choice("auto", "9p", "smb", "off"),
        "How they are served: `9p` needs a guest kernel with 9p; `auto` takes it where the guest "
        "has it, and SMB elsewhere.",
        default="auto",
    )
    home: bool = key(kinds.flag(), "Whether the home directory is shared.", default=True)
    workdir: bool = key(
        kinds.flag(), "Whether the directory of submission is shared.", default=True
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """The guests' network."""

    outbound: bool = key(
        kinds.flag(), "Whether guests reach the world through the node.", default=True
    )
    first_port: int = key(
        kinds.whole(1024, 65535),
        "First port on the node's loopback that may be forwarded to a guest.",
        default=42000,
    )
    last_port: int = key(kinds.whole(1024, 65535), "Last such port.", default=42999)


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """How long things may take."""

    ready: float | None = key(
        kinds.seconds(1, 86400).or_none("what the batch system leaves"),
        "How long a guest may take to become ready.",
        default=None,
    )
    epilog: float = key(
        kinds.seconds(0, 3600), "How long `epilog.sh` may take in the guest.", default=10.0
    )
    release: float = key(
        kinds.seconds(1, 3600), "How long the release of a job may take.", default=30.0
    )
    accelerator_probe: float = key(
        kinds.seconds(1, 600),
        "How long a kernel may take to boot under KVM before KVM counts as broken on the node.",
        default=15.0,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Local:
    """The embedded batch system, `vmbatch local run`."""

    user: str = key(_USER, "Who owns jobs when root names no owner.", default="vmdemo")
    home: Path = key(kinds.path(), "Its spool.", default=Path("/var/lib/vmbatch/local"))
    kill_delay: float = key(
        kinds.seconds(0, 600), "How long a job has between SIGTERM and SIGKILL.", default=2.0
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """What a kind of job gets, and how much of it the job may choose."""

    name: str
    template: str = key(_TEMPLATE, "The domain template.", default="linux.xml")
    image: str | None = key(
        kinds.name(_IMAGE, "the name of an image in the store").or_none("the job must name one"),
        "The image of a job that names none.",
        default=None,
    )
    images: tuple[str, ...] = key(
        _IMAGE_GLOB.list(), "The images that a job may name.", default=("*",)
    )
    vcpus: int | None = key(
        kinds.whole(1, 4096).or_none("as many as the job has cores on the node"),
        "Virtual processors, where neither job nor template says.",
        default=None,
    )
    max_vcpus: int | None = key(
        kinds.whole(1, 4096).or_none("all of the node's"),
        "The most virtual processors that a job may ask for.",
        default=None,
    )
    ram_mib: int = key(
        kinds.size(),
        "Memory, where neither job nor template says; at least this much, and the job's own "
        "memory if that is more.",
        default=512,
        name="ram",
    )
    max_ram_mib: int | None = key(
        kinds.size().or_none("all of the node's"),
        "The most memory that a job may ask for.",
        default=None,
        name="max_ram",
    )
    accelerator: str = key(
        kinds.choice("auto", "kvm", "tcg"),
        "`auto` takes KVM where the node proved that it works, and emulation (TCG) elsewhere.",
        default="auto",
    )
    ready: str = key(
        kinds.choice("auto", "channel", "ssh"),
        "How the guest is known to be ready: it says so over its channel, or its ssh server "
        "answers; `auto`: as the image says, or else the channel.",
        default="auto",
    )
    prolog: Path | None = key(
        _SCRIPT, "Script that runs as root in the guest before the job.", default=None
    )
    epilog: Path | None = key(
        _SCRIPT, "Script that runs as root in the guest after the job.", default=None
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """Which jobs get which profile. All conditions that a rule has must hold."""

    queues: tuple[str, ...] = key(_PATTERN.list(), "The job's queue.", default=(), name="queue")
    users: tuple[str, ...] = key(_PATTERN.list(), "The job's owner.", default=(), name="user")
    groups: tuple[str, ...] = key(
        _PATTERN.list(), "Any of the owner's groups.", default=(), name="group"
    )
    asks: bool | None = key(
        kinds.flag().or_none("both"),
        "Jobs that ask for a guest (`true`), or those that do not (`false`).",
        default=None,
    )
    profile: str | None = key(
        kinds.name(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", "a profile's name, or none").or_none(
            "bare metal, whatever the job asks for"
        ),
        "What such a job gets.",
    )
    allow: tuple[str, ...] = key(
        _PATTERN.list(),
        "Other profiles that such a job may choose with `profile=` in its request.",
        default=(),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """What the site file says, with the defaults filled in.

    Args:
        file: where it was read, or would have been.
        identity: what tells this state of the file from another.
        lines: the line of each key that the file has, by its dotted name such as
            ``profiles.big.ram`` or ``rules[0].queue``.
    """

    paths: Paths = Paths()
    libvirt: Libvirt = Libvirt()
    request: RequestOptions = RequestOptions()
    torque: Torque = Torque()
    shares: Shares = Shares()
    network: Network = Network()
    timeouts: Timeouts = Timeouts()
    local: Local = Local()
    profiles: Mapping[str, Profile] = field(
        default_factory=lambda: MappingProxyType({DEFAULT_PROFILE: Profile(name=DEFAULT_PROFILE)})
    )
    rules: tuple[Rule, ...] = ()
    file: Path = Path(DEFAULT_SITE_FILE)
    identity: Identity = (DEFAULT_SITE_FILE, 0, 0, 0, 0)
    lines: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


SECTIONS: Mapping[str, type] = MappingProxyType(
    {
        "paths": Paths,
        "libvirt": Libvirt,
        "request": RequestOptions,
        "torque": Torque,
        "shares": Shares,
        "network": Network,
        "timeouts": Timeouts,
        "local": Local,
    }
)
"""The sections of plain keys, by their name in the site file and in `Site`."""
