"""Debian packages from the mirror, without installing any and apart from the host's own apt.

apt gets its own sources, lists and cache under one directory, so that what a guest is made of does
not hang on the repositories that the host happens to use. Proxies of /etc/apt/apt.conf.d count.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from vmbatch.clock import Deadline
from vmbatch.errors import NodeError, ProgramError
from vmbatch.images.diskspace import named_if_full
from vmbatch.process import run

SUITE = "bookworm"
DEFAULT_MIRROR = "http://deb.debian.org"
MIRROR_VARIABLE = "VMBATCH_DEBIAN_MIRROR"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_FRESH_SECONDS = 86400.0
_UPDATE_SECONDS = 300.0
_DOWNLOAD_SECONDS = 1800.0


def sources(mirror: str) -> str:
    """Return the text of a sources.list for the suite, its updates and its security fixes.

    >>> sources("http://m").splitlines()[0].split("] ")[1]
    'http://m/debian bookworm main'
    """
    suites = (
        ("debian", SUITE),
        ("debian", f"{SUITE}-updates"),
        ("debian-security", f"{SUITE}-security"),
    )
    return "".join(
        f"deb [signed-by={_KEYRING}] {mirror}/{part} {name} main\n" for part, name in suites
    )


class Packages:
    """The packages of a Debian suite.

    Args:
        cache: a directory of root's for lists and packages; what is there is not fetched again.
        environment: where `MIRROR_VARIABLE` may name a mirror that has `debian` and
            `debian-security` below it.
    """

    def __init__(self, cache: Path, environment: Mapping[str, str] | None = None) -> None:
        settings = os.environ if environment is None else environment
        self.mirror = settings.get(MIRROR_VARIABLE, DEFAULT_MIRROR).rstrip("/")
        self.sources_list = cache / "sources.list"
        self._state = cache / "apt"
        self._archives = cache / "packages"

    def refresh(self) -> None:
        """Fetch the lists of packages, unless that was done within a day from the same mirror.

        Raises:
            NodeError: the mirror does not answer.
        """
        for path in (self._state / "lists" / "partial", self._archives):
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
        (self._state / "status").touch()
        stamp = self._state / "refreshed"
        text = sources(self.mirror)
        known = stamp.read_text() if stamp.exists() else ""
        if known == text and time.time() - stamp.stat().st_mtime < _FRESH_SECONDS:
            return
        self.sources_list.write_text(text)
        self._apt("apt-get", ["update"], _UPDATE_SECONDS)
        stamp.write_text(text)

    def depends(self, package: str) -> list[str]:
        """Return the names that the newest version of a package depends on."""
        told = self._apt("apt-cache", ["depends", "--no-recommends", package], _UPDATE_SECONDS)
        return [line.split()[1] for line in told.splitlines() if line.startswith("  Depends:")]

    def download(self, packages: Sequence[str]) -> list[Path]:
        """Return the files of the newest versions of packages, fetching those that are not here.

        Raises:
            NodeError: there is no such package, or the mirror does not answer.
        """
        # apt names the files, fetches those that its current directory lacks, and checks digests.
        listed = self._apt("apt-get", ["download", "--print-uris", *packages], _UPDATE_SECONDS)
        with named_if_full("the packages", self._archives):
            self._apt("apt-get", ["download", *packages], _DOWNLOAD_SECONDS, self._archives)
        return [self._archives / line.split()[1] for line in listed.splitlines() if line]

    def _apt(
        self, program: str, words: Sequence[str], seconds: float, cwd: Path | None = None
    ) -> str:
        options = {
            "Dir::Etc::sourcelist": self.sources_list,
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State": self._state,
            "Dir::State::lists": self._state / "lists",
            "Dir::State::status": self._state / "status",
            "Dir::Cache": self._state,
            "APT::Architecture": "amd64",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "APT::Update::Error-Mode": "any",
        }
        argv = [program, "-q", *(f"-o{key}={value}" for key, value in options.items()), *words]
        try:
            told = run(argv, deadline=Deadline.after(seconds), cwd=cwd or self._state)
        except ProgramError as error:
            raise NodeError(
                f"can't get Debian packages from {self.mirror}: {error.message}",
                hint=error.hint
                or f"check that this node reaches {self.mirror}, or set"
                f" {MIRROR_VARIABLE} to a mirror it reaches",
            ) from error
        return told.decode(errors="replace")
