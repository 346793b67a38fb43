"""Runs the scripts around a job with the arguments and the surroundings that a mom gives them."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from vmbatch.batch.local_environment import script_environment
from vmbatch.batch.local_processes import Child, Events, Why, kill_session, start_script
from vmbatch.batch.local_resources import format_time, resource_list
from vmbatch.batch.local_scripts import (
    Found,
    Script,
    Verdict,
    epilogues,
    find,
    judge,
)
from vmbatch.batch.local_spool import JobFiles, Spool
from vmbatch.batch.local_submission import Submission
from vmbatch.batch.momconfig import MomConfig
from vmbatch.clock import Deadline

NEVER = float("inf")
_EPILOGUE_UMASK = 0o022
_PROLOGUE_UMASK = 0o077


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What the scripts of one job on one mom have in common.

    Args:
        job_id: the job.
        submission: what was submitted.
        spool: the mom's directories.
        files: the job's.
        hosts: a host for each slot; the first is this node.
        config: the mom's configuration.
        streams: descriptors for standard output and standard error.
        interactive: whether those are a terminal.
        events: what to wait with.
    """

    job_id: str
    submission: Submission
    spool: Spool
    files: JobFiles
    hosts: tuple[str, ...]
    config: MomConfig
    streams: tuple[int, int]
    interactive: bool
    events: Events

    @property
    def hosts_file(self) -> str:
        """The list of hosts, under the name that Torque gives it."""
        return f"{self.spool.home}/aux//{self.job_id}"

    def presetup(self) -> None:
        """Run ``$presetup_prologue``; its end does not matter to the job."""
        if self.config.presetup:
            script = Script(path=self.spool.home / self.config.presetup)
            arguments = [*self._arguments(), ",".join(dict.fromkeys(self.hosts))]
            self._run(script, arguments, silent=True)

    def prologue(self, script: Script, leaked: Sequence[int]) -> Verdict | None:
        """Run a script before the job.

        Returns:
            What becomes of the job; None where it was deleted meanwhile: then the scripts after the
            job ran beside this one, as of ``qdel`` during a prologue, and both have ended.
        """
        found = self._start(script, self._arguments(), umask=_PROLOGUE_UMASK, leaked=leaked)
        if found is None:
            return Verdict.GO_ON
        if isinstance(found, Found):
            return judge(255, interactive=self.interactive)
        limit = Deadline.after(self.config.script_limit)
        try:
            why = self.events.wait(found, limit)
            if why is Why.ASKED:
                self._deleted_during(found, limit)
                return None
            late = why is Why.LATE
            if late:
                kill_session(found.session, signal.SIGKILL)
            return judge(found.reap(), timed_out=late, interactive=self.interactive)
        finally:
            found.close()

    def _deleted_during(self, child: Child, limit: Deadline) -> None:
        self.precancel(0)
        self.after(session=0, status=0, seconds=0.0)
        self._wait(child, limit)

    def precancel(self, status: int) -> None:
        """Run ``epilogue.precancel``, as the job's owner."""
        script = Script(path=self.spool.mom_priv / "epilogue.precancel", as_owner=True)
        self._run(script, self._after_arguments(0, status, 0.0), silent=True)

    def after(self, *, session: int, status: int, seconds: float) -> None:
        """Run the scripts after the job; how they end does not matter.

        Args:
            session: of the job's shell, 0 if it never started.
            status: Torque's exit status of the job.
            seconds: how long it ran.
        """
        arguments = self._after_arguments(session, status, seconds)
        for script in epilogues(self.spool.mom_priv, self.submission.resources):
            self._run(script, arguments, silent=self.interactive)

    def _run(self, script: Script, arguments: list[str], *, silent: bool) -> None:
        child = self._start(script, arguments, umask=_EPILOGUE_UMASK, silent=silent)
        if isinstance(child, Child):
            try:
                self._wait(child, Deadline.after(self.config.script_limit))
            finally:
                child.close()

    def _wait(self, child: Child, limit: Deadline) -> None:
        if self.events.wait(child, limit, after=NEVER) is Why.LATE:
            kill_session(child.session, signal.SIGKILL)
        child.reap()

    def _start(
        self,
        script: Script,
        arguments: list[str],
        *,
        umask: int,
        silent: bool = False,
        leaked: Sequence[int] = (),
    ) -> Child | Found | None:
        owner = self.submission.owner
        found = find(script, owner)
        if found is not Found.GOOD:
            return None if found is Found.MISSING else found
        with ExitStack() as stack:
            streams = self.streams
            if silent:
                null = os.open(os.devnull, os.O_WRONLY)
                stack.callback(os.close, null)
                streams = (null, null)
            return start_script(
                script.path,
                arguments,
                environment=script_environment(
                    self.submission,
                    base=self.spool.environment(),
                    host=self.hosts[0],
                    hosts_file=self.hosts_file,
                ),
                owner=owner if script.as_owner else None,
                umask=umask,
                output=streams[0],
                error=streams[1],
                directory=owner.home if script.as_owner else str(self.spool.mom_priv),
                leaked=leaked,
            )

    def _arguments(self) -> list[str]:
        job, owner = self.submission, self.submission.owner
        resources = resource_list(job.resources)
        head = [self.job_id, owner.name, owner.group, job.name]
        return [*head, resources, job.queue, job.account, str(self.files.script)]

    def _after_arguments(self, session: int, status: int, seconds: float) -> list[str]:
        *head, resources, queue, account, script = self._arguments()
        time = format_time(int(seconds))
        used = f"cput=00:00:00,vmem=0kb,walltime={time},mem=0kb,energy_used=0"
        return [*head, str(session), resources, used, queue, account, str(status), script]
