"""One attempt at one job on one mom: the scripts before it, the job, the scripts after it."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from vmbatch.batch import local_job
from vmbatch.batch.local_environment import job_environment
from vmbatch.batch.local_leaks import Leaks
from vmbatch.batch.local_output import Delivery, pump
from vmbatch.batch.local_processes import Child, Why, kill_session
from vmbatch.batch.local_resources import walltime
from vmbatch.batch.local_runner import Surroundings
from vmbatch.batch.local_scripts import ABORTED, RETRIED, WALLTIME, Verdict, prologues
from vmbatch.batch.local_terminal import Terminal
from vmbatch.clock import Deadline, Phases


class End(Enum):
    """How an attempt to run a job ended."""

    DONE = auto()
    ABORTED = auto()
    RETRY = auto()
    DELETED = auto()


@dataclass(slots=True)
class Attempt:
    """One attempt at one job.

    Args:
        around: the mom and the job.
        delivery: the way of the job's output; None for a terminal.
        terminal: of an interactive job.
        phases: where the seconds go.
        leaks: the mom's own descriptors that a prologue finds open.
        kill_delay: seconds between TERM and KILL.
        released: called when the job has ended and its epilogue has not begun.
        returncode: exit status of the job, or minus the signal; known at the end.
    """

    around: Surroundings
    delivery: Delivery | None
    terminal: Terminal | None
    phases: Phases
    leaks: Leaks
    kill_delay: float
    released: Callable[[], None]
    returncode: int = 0

    def run(self) -> End:
        """Run the whole attempt; what a job printed is then delivered, unless it was aborted."""
        reader, writer = os.pipe()
        with io.FileIO(reader, "rb") as stdin, io.FileIO(writer, "wb") as line:
            if self.delivery:
                self._write_line(line)
            with self.phases.step("prologue"):
                end = self._before(reader)
            if end is End.DONE:
                self._job(stdin, line)
            if end is not End.ABORTED and self.delivery:
                self.delivery.finish()
        return end

    def _before(self, stdin: int) -> End:
        around = self.around
        with self.leaks.opened(stdin) as leaked:
            around.presetup()
            for script in prologues(around.spool.mom_priv, around.submission.resources):
                verdict = around.prologue(script, leaked)
                if verdict is None:
                    return End.DELETED
                if verdict is Verdict.GO_ON:
                    continue
                abort = verdict is Verdict.ABORT
                around.after(session=0, status=ABORTED if abort else RETRIED, seconds=0.0)
                return End.ABORTED if abort else End.RETRY
        return End.DONE

    def _job(self, stdin: io.FileIO, line: io.FileIO) -> None:
        start = time.monotonic()
        with self.phases.step("job"):
            if self.delivery:
                self.delivery.begin()
            if self.around.submission.own_input:
                pump(sys.stdin.fileno(), os.dup(line.fileno()))
            line.close()
            child = self._start_job(stdin.fileno())
            stdin.close()
            try:
                status = self._watch(child)
            finally:
                child.close()
        self.released()
        with self.phases.step("epilogue"):
            self.around.after(
                session=child.session, status=status, seconds=time.monotonic() - start
            )

    def _write_line(self, line: io.FileIO) -> None:
        job = self.around.submission
        text = local_job.input_line(
            self.around.files.script, job.arguments, replace_shell=job.own_input
        )
        os.write(line.fileno(), text)

    def _start_job(self, stdin: int) -> Child:
        around, job, terminal = self.around, self.around.submission, self.terminal
        return local_job.start_job(
            local_job.command_of(around.config, job.shell or job.owner.shell),
            owner=job.owner,
            environment=job_environment(
                job,
                job_id=around.job_id,
                base=around.spool.environment(),
                host=around.hosts[0],
                hosts_file=around.hosts_file,
                term=os.environ.get("TERM", "dumb") if terminal else "",
            ),
            directory=job.directory or job.owner.home,
            streams=(terminal.slave if terminal else stdin, *around.streams),
            terminal=terminal,
        )

    def _watch(self, child: Child) -> int:
        """Wait for the job, or end it; return its status as the epilogue is told it."""
        limit = walltime(self.around.submission.resources)
        start = time.monotonic()
        why = self.around.events.wait(child, Deadline.after(limit))
        if why is Why.LATE:
            used = int(time.monotonic() - start)
            text = f"=>> PBS: job killed: walltime {used} exceeded limit {limit}\n"
            os.write(self.around.streams[1], text.encode())
        if why is not Why.ENDED:
            self._end(child, WALLTIME if why is Why.LATE else 0)
        self.returncode = child.reap()
        kill_session(child.session, signal.SIGKILL)
        if why is Why.LATE:
            self.returncode = self.returncode or -signal.SIGTERM
            return WALLTIME
        return local_job.torque_status(self.returncode)

    def _end(self, child: Child, status: int) -> None:
        self.around.precancel(status)
        local_job.end_session(child, self.around.events, self.kill_delay)
