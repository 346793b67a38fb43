"""libvirt's lifecycle events as a file descriptor that can be waited for beside others."""

from __future__ import annotations

import os
import threading
from typing import Any, Final

import libvirt

_STOPPED: Final = {
    libvirt.VIR_DOMAIN_EVENT_STOPPED: "stopped",
    libvirt.VIR_DOMAIN_EVENT_SHUTDOWN: "shut down",
    libvirt.VIR_DOMAIN_EVENT_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: "paused",
}


def start_event_loop() -> None:
    """Run libvirt's own event loop in a thread, once a process and before the first connection."""
    if _Loop.running:
        return
    _Loop.running = True
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_run, name="libvirt-events", daemon=True).start()


class StopWatch:
    """Tells when one domain stops running.

    Attributes:
        fd: readable once it does.
        reason: why it did, such as ``paused``, or empty.
    """

    def __init__(self, connection: Any, domain: str) -> None:
        self.reason = ""
        self._domain = domain
        self.fd, self._signal = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._connection = connection
        self._id = connection.domainEventRegisterAny(
            None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._happened, None
        )

    def close(self) -> None:
        """Stop watching."""
        self._connection.domainEventDeregisterAny(self._id)
        os.close(self.fd)
        os.close(self._signal)

    def _happened(self, _connection: Any, domain: Any, event: int, _detail: int, _: Any) -> None:
        # Runs in libvirt's thread: nothing but to wake the one who waits.
        if domain.name() == self._domain and event in _STOPPED and not self.reason:
            self.reason = _STOPPED[event]
            os.write(self._signal, b".")


class _Loop:
    running = False


def _run() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
