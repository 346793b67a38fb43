"""Points in time instead of time-outs, and the seconds that each phase took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on the monotonic clock by which something must be done.

    Args:
        at: seconds on `time.monotonic`'s scale.
    """

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline that is `seconds` from now."""
        return cls(time.monotonic() + seconds)

    def left(self) -> float:
        """Seconds that are left, never below 0."""
        return max(0.0, self.at - time.monotonic())

    def passed(self) -> bool:
        """Whether nothing is left."""
        return self.left() == 0.0

    def within(self, seconds: float) -> Deadline:
        """Return the earlier of this deadline and `seconds` from now."""
        return Deadline(min(self.at, time.monotonic() + seconds))


@dataclass(slots=True)
class Phases:
    """The phases of one job's way, in order, with their seconds.

    >>> phases = Phases()
    >>> with phases.step("overlay"):
    ...     pass
    >>> [name for name, _ in phases.seconds]
    ['overlay']
    """

    seconds: list[tuple[str, float]] = field(default_factory=list)
    current: str = ""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure the body under `name`; `current` keeps the name if the body raises."""
        self.current = name
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds.append((name, round(time.monotonic() - start, 4)))
        self.current = ""
