"""What a prologue that failed tells the batch system, and where it leaves the cause.

Exit codes are Torque's.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

from vmbatch.batch import attempts
from vmbatch.config import Site
from vmbatch.errors import CancelledError, NodeError, VmbatchError
from vmbatch.job import Job

log = logging.getLogger(__name__)

GO_ON = 0
ABORT = 1
REQUEUE = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Led:
    """A job, and whether it is led to us instead of running on the node.

    Args:
        job: the job.
        site: the site file.
        redirected: whether a job starter or a wrapper of ours takes it.
    """

    job: Job
    site: Site
    redirected: bool

    def fail(self, error: VmbatchError) -> int:
        """Make a failure known and return the prologue's exit code.

        A fault of the node sends a batch job back, a bounded number of times. Everything else, and
        then that too, is left for whoever takes the job, who prints it and exits non-zero.
        """
        if isinstance(error, CancelledError):
            return REQUEUE
        log.error("%s: %s", self.job.id, str(error).replace("\n", "; "))
        if isinstance(error, NodeError) and self._may_requeue():
            say(error)
            return REQUEUE
        if not self.redirected:
            say(error)
            return ABORT
        try:
            from vmbatch.lifecycle import record_failure

            record_failure(
                self.job, site=self.site, error=error, phase=error.phase, console=error.console
            )
        except Exception as second:
            # Without a record the job is refused all the same; these are then its only words.
            log.exception("%s: the failure can't be recorded: %s", self.job.id, second)
            say(error)
        return GO_ON

    def _may_requeue(self) -> bool:
        if self.job.script is None or self.job.node_rank > 0:
            return False  # Torque never tries an interactive job again
        paths = self.site.paths
        return attempts.may_requeue(
            paths.state, paths.run, self.job.slug, self.site.torque.max_requeues
        )


def as_error(error: Exception) -> VmbatchError:
    """Return an error of ours for any exception; the log gets the traceback of one that is not."""
    if isinstance(error, VmbatchError):
        return error
    log.error("unexpected", exc_info=error)
    return NodeError(
        f"unexpected: {type(error).__name__}: {error}",
        hint="the administrator finds the traceback in the log of vmbatch on the node",
    )


def say(error: VmbatchError) -> None:
    """Tell an error on standard error: the job's own, or the terminal of an interactive one."""
    text = f"vmbatch: {error.message}\n"
    if error.hint:
        text += f"vmbatch: hint: {error.hint}\n"
    try:
        os.write(2, text.encode(errors="backslashreplace"))
    except OSError:
        return
