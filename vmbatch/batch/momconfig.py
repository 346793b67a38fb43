"""What we need to know of `pbs_mom`'s own configuration, ``mom_priv/config``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_ALARM = 300
_LEAD = 10
"""Torque kills a script this many seconds before the configured limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MomConfig:
    """The settings of one mom.

    Args:
        alarm: ``$prologalarm``, seconds.
        job_starter: ``$job_starter``, or None.
        presetup: ``$presetup_prologue``, or None.
    """

    alarm: int = DEFAULT_ALARM
    job_starter: str | None = None
    presetup: str | None = None

    @property
    def script_limit(self) -> int:
        """Seconds after which the mom kills a script of ours.

        >>> [MomConfig(alarm=seconds).script_limit for seconds in (300, 15, 8)]
        [290, 5, 8]
        """
        return self.alarm - _LEAD if self.alarm > _LEAD else self.alarm


def parse_mom_config(text: str) -> MomConfig:
    r"""Parse the text of ``mom_priv/config``; a later line replaces an earlier one.

    >>> parse_mom_config("$prologalarm 60\n$job_starter /opt/x\n").job_starter
    '/opt/x'
    """
    values: dict[str, str] = {}
    for line in text.splitlines():
        words = line.split(None, 1)
        if len(words) == 2 and words[0].startswith("$"):
            values[words[0]] = words[1].strip()
    return MomConfig(
        alarm=_seconds(values.get("$prologalarm", "")),
        job_starter=values.get("$job_starter"),
        presetup=values.get("$presetup_prologue"),
    )


def read_mom_config(path: Path) -> MomConfig:
    """Read a mom's configuration; a mom without one has the defaults."""
    try:
        return parse_mom_config(path.read_text(errors="replace"))
    except OSError:
        return MomConfig()


def _seconds(text: str) -> int:
    return int(text) if text.isdecimal() and int(text) > 0 else DEFAULT_ALARM
