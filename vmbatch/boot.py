"""From a domain's XML to a guest that its owner can log in to."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from vmbatch.clock import Deadline, Phases
from vmbatch.config import Site
from vmbatch.context.bundle import LOGIN
from vmbatch.hypervisor.channel import GuestChannel
from vmbatch.hypervisor.connection import Hypervisor
from vmbatch.hypervisor.events import StopWatch
from vmbatch.hypervisor.messages import Message, Note, Phase, Ready
from vmbatch.jobdir import JobDir
from vmbatch.network.banner import Login, wait_for_banner, wait_for_login
from vmbatch.network.ports import LOOPBACK
from vmbatch.plan import GuestPlan

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Boot:
    """Boots one guest.

    Args:
        place: the job's directory.
        site: the site file.
        phases: where each step's seconds go.
        deadline: when to give up.
    """

    place: JobDir
    site: Site
    phases: Phases
    deadline: Deadline

    def start(self, plan: GuestPlan, xml: str, forward: int | None) -> tuple[str, int]:
        """Start the domain and wait for it.

        Args:
            plan: what was made.
            xml: the domain.
            forward: the port of this node that leads to the guest's ssh server, if one does.

        Returns:
            Address and port where the guest's ssh server is reached.

        Raises:
            HypervisorError: the domain did not start.
            GuestError: it did, and the owner can't log in by the deadline.
        """
        with Hypervisor(self.site.libvirt.uri, events=True) as hypervisor:
            watch = hypervisor.watch(plan.domain)
            try:
                with self.phases.step("domain"):
                    self.place.journal.intend("domain", name=plan.domain, uid=plan.job.owner.uid)
                    hypervisor.start(xml)
                with self.phases.step("boot"):
                    ready = self._wait(plan, watch, forward)
            finally:
                watch.close()
        return (LOOPBACK, forward) if forward else (ready.address, ready.port)

    def _wait(self, plan: GuestPlan, watch: StopWatch, forward: int | None) -> Ready:
        """Wait for the guest's word; one that can't give it is asked by logging in."""
        with GuestChannel(self.place.channel) as channel:
            if plan.ready == "ssh" and forward:
                # The channel stays open meanwhile: set-up in the guest waits for a listener.
                self._wait_for_login(forward, watch)
                return Ready(port=plan.guest_port, host_key="", address="")
            return channel.wait_ready(self._patience(), watch, heard=lambda said: _log(plan, said))

    def _wait_for_login(self, port: int, watch: StopWatch) -> None:
        deadline = self._patience()
        wait_for_banner(LOOPBACK, port, deadline, stop_fd=watch.fd)
        login = Login(
            host=LOOPBACK,
            port=port,
            user=LOGIN,
            key=self.place.key,
            known_hosts=self.place.known_hosts,
            alias=self.place.alias,
        )
        wait_for_login(login, deadline, stop_fd=watch.fd)

    def _patience(self) -> Deadline:
        cap = self.site.timeouts.ready
        return self.deadline.within(cap) if cap else self.deadline


def _log(plan: GuestPlan, said: Message) -> None:
    match said:
        case Phase():
            log.debug("%s: the guest is at %s", plan.job.id, said.name)
        case Note():
            log.info("%s: the guest says: %s", plan.job.id, said.text)
