"""What a check of the node found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    """A job could not run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report.

    Args:
        level: how bad it is.
        subject: what was looked at.
        text: what was found.
        cure: what mends it; empty where nothing has to be.
    """

    level: Level
    subject: str
    text: str
    cure: str = ""


def ok(subject: str, text: str) -> Finding:
    """Return a finding that nothing is wrong."""
    return Finding(Level.OK, subject, text)


def warn(subject: str, text: str, cure: str) -> Finding:
    """Return a finding with which most jobs can run."""
    return Finding(Level.WARN, subject, text, cure)


def fail(subject: str, text: str, cure: str) -> Finding:
    """Return a finding with which a job could not run."""
    return Finding(Level.FAIL, subject, text, cure)


def can_run(findings: Iterable[Finding]) -> bool:
    """Whether a job could run."""
    return all(finding.level is not Level.FAIL for finding in findings)
