"""A job's way through the embedded batch system, tries included."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from vmbatch.batch.local_job import KILL_DELAY, shell_status
from vmbatch.batch.local_leaks import Leaks
from vmbatch.batch.local_mom import Attempt, End
from vmbatch.batch.local_output import Delivery, SpoolFile
from vmbatch.batch.local_processes import Events
from vmbatch.batch.local_runner import Surroundings
from vmbatch.batch.local_spool import JobFiles, Spool
from vmbatch.batch.local_submission import Submission
from vmbatch.batch.local_terminal import Terminal
from vmbatch.batch.momconfig import read_mom_config
from vmbatch.clock import Phases

_ABORTED = {
    False: "the prologue ended job {} with exit status 1",
    True: "qsub: job {} completed: its prologue failed, see above",
}

Seconds = list[tuple[str, float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """What became of a job.

    Args:
        job_id: its id.
        status: what we exit with: the job's own status, 128 + signal, or 1 if it never ran.
        notes: lines for whoever submitted it.
        seconds: its phases.
    """

    job_id: str
    status: int
    notes: tuple[str, ...] = ()
    seconds: Seconds = field(default_factory=list)


def run_job(
    submission: Submission,
    *,
    spool: Spool,
    hosts: tuple[str, ...],
    guest_seconds: Callable[[str], Seconds],
    job_id: str | None = None,
    attempts: int = 3,
    kill_delay: float = KILL_DELAY,
) -> Ran:
    """Run a job to its end on the mom of this machine.

    Args:
        submission: the job.
        spool: the mom's directories, prepared.
        hosts: a host for each slot.
        guest_seconds: tells the phases of the guest's way of a job that has one.
        job_id: an id of the caller's choice.
        attempts: how often it may be tried; a real mom would go on for ever.
        kill_delay: seconds between TERM and KILL.

    Raises:
        NodeError: the spool can't be used, or the id is taken.
    """
    files = JobFiles(spool, job_id or spool.next_id())
    files.claim()
    job = _LocalJob(submission, spool, files, hosts, guest_seconds, kill_delay)
    kept = True
    try:
        ran = job.run(attempts)
        kept = job.undelivered
        return ran
    finally:
        files.remove(keep_output=kept)


@dataclass(slots=True)
class _LocalJob:
    submission: Submission
    spool: Spool
    files: JobFiles
    hosts: tuple[str, ...]
    guest_seconds: Callable[[str], Seconds]
    kill_delay: float
    undelivered: bool = False
    seconds: Seconds = field(default_factory=list)

    def run(self, attempts: int) -> Ran:
        with Leaks() as leaks, Events() as events, ExitStack() as stack:
            delivery = terminal = None
            if self.submission.interactive:
                terminal = Terminal(self.submission.owner)
                stack.enter_context(terminal.bridged())
            else:
                delivery = stack.enter_context(self._delivery())
            end, attempt = End.RETRY, None
            while end is End.RETRY and attempts > 0 and not events.asked:
                attempts -= 1
                attempt, end = self._attempt(events, leaks, delivery, terminal)
            if terminal:
                terminal.hang_up()
            asked = events.asked
        return self._ran(end, attempt.returncode if attempt else 0, asked, delivery)

    def _attempt(
        self,
        events: Events,
        leaks: Leaks,
        delivery: Delivery | None,
        terminal: Terminal | None,
    ) -> tuple[Attempt, End]:
        self.files.send(self.submission.script, self.submission.owner, self.hosts)
        if delivery:
            for file in delivery.files:
                file.empty()
            streams = (delivery.files[0].fd, delivery.files[1].fd)
        else:
            streams = (terminal.slave, terminal.slave) if terminal else (1, 2)
        around = Surroundings(
            job_id=self.files.job_id,
            submission=self.submission,
            spool=self.spool,
            files=self.files,
            hosts=self.hosts,
            config=read_mom_config(self.spool.config),
            streams=streams,
            interactive=terminal is not None,
            events=events,
        )
        phases = Phases()
        guest: Seconds = []
        attempt = Attempt(
            around=around,
            delivery=delivery,
            terminal=terminal,
            phases=phases,
            leaks=leaks,
            kill_delay=self.kill_delay,
            released=lambda: guest.extend(self.guest_seconds(self.files.job_id)),
        )
        try:
            end = attempt.run()
        finally:
            self.seconds += _in_order(phases.seconds, guest)
        return attempt, end

    @contextmanager
    def _delivery(self) -> Iterator[Delivery]:
        owner, join = self.submission.owner, self.submission.join
        first = SpoolFile(self.files.error if join == "eo" else self.files.output, owner)
        second = first if join in ("oe", "eo") else SpoolFile(self.files.error, owner)
        target = sys.stderr.fileno() if join == "eo" else sys.stdout.fileno()
        delivery = Delivery(first, second, (target, sys.stderr.fileno()))
        try:
            yield delivery
        finally:
            delivery.close()

    def _ran(self, end: End, returncode: int, asked: int, delivery: Delivery | None) -> Ran:
        notes = []
        status = 1
        if end is End.DONE:
            status = shell_status(returncode)
        elif end is End.DELETED or asked:
            status = 128 + asked
            notes.append(f"job {self.files.job_id} was deleted before it began")
        elif end is End.ABORTED:
            notes.append(_ABORTED[self.submission.interactive].format(self.files.job_id))
        else:
            notes.append(
                f"the prologue sent job {self.files.job_id} back each time; "
                "Torque would try for ever"
            )
        lost = delivery is not None and (end is End.ABORTED or not delivery.whole)
        if delivery and lost:
            self.undelivered = self._keep(delivery, notes)
        return Ran(
            job_id=self.files.job_id, status=status, notes=tuple(notes), seconds=self.seconds
        )

    def _keep(self, delivery: Delivery, notes: list[str]) -> bool:
        names = [str(f.path) for f in dict.fromkeys(delivery.files) if _size(f.path)]
        if names:
            notes.append(f"what it printed was not delivered, it is in: {' '.join(names)}")
        return bool(names)


def _size(path: os.PathLike[str]) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def _in_order(own: Seconds, guest: Seconds) -> Seconds:
    """Put the guest's phases below the prologue, whose part they are."""
    found = [(f"  {name}", seconds) for name, seconds in guest]
    return [*own[:1], *found, *own[1:]]
