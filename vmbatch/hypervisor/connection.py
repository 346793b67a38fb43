"""One connection to libvirt, and what we do over it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import libvirt

from vmbatch.errors import HypervisorError
from vmbatch.hypervisor.events import StopWatch, start_event_loop

_HINT = "see whether libvirtd and virtlogd run, and: vmbatch doctor"


class Hypervisor:
    """The hypervisor of this node.

    Args:
        uri: libvirt's connection URI.
        events: whether `watch` will be used.

    Raises:
        HypervisorError: libvirt does not answer.
    """

    def __init__(self, uri: str, *, events: bool = False) -> None:
        # Without a handler of ours libvirt prints each error on stderr: the job's own output.
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        if events:
            start_event_loop()
        with _named(f"can't reach libvirt at {uri}"):
            self._connection = libvirt.open(uri)

    def __enter__(self) -> Self:
        """Return the connection itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection; the guests go on."""
        self._connection.close()

    def start(self, xml: str) -> None:
        """Start a transient domain, its XML validated against libvirt's schema.

        Raises:
            HypervisorError: libvirt or QEMU refused it.
        """
        with _named("libvirt did not start the guest"):
            self._connection.createXML(xml, libvirt.VIR_DOMAIN_START_VALIDATE)

    def watch(self, name: str) -> StopWatch:
        """Watch for the end of a domain; to be called before it is started."""
        return StopWatch(self._connection, name)

    def destroy(self, name: str) -> bool:
        """End a domain at once; returns whether there was one.

        Raises:
            HypervisorError: it is still there.
        """
        domain = self._find(name)
        if domain is None:
            return False
        try:
            domain.destroy()
        except libvirt.libvirtError as error:
            if error.get_error_code() in _GONE:
                return False
            raise HypervisorError(
                f"libvirt did not end the guest {name}: {error.get_error_message()}", hint=_HINT
            ) from error
        return True

    def domains(self) -> Iterator[tuple[str, str, str]]:
        """Yield name, state and XML of each domain that runs on this node."""
        with _named("can't list the guests"):
            found = self._connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        for domain in found:
            try:
                yield domain.name(), _state_of(domain), domain.XMLDesc()
            except libvirt.libvirtError as error:
                if error.get_error_code() not in _GONE:
                    raise

    def _find(self, name: str) -> Any | None:
        try:
            return self._connection.lookupByName(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise HypervisorError(
                f"libvirt does not answer: {error.get_error_message()}", hint=_HINT
            ) from error


def _state_of(domain: Any) -> str:
    return _STATES.get(int(domain.state()[0]), "unknown")


@contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except libvirt.libvirtError as error:
        raise HypervisorError(f"{what}: {error.get_error_message()}", hint=_HINT) from error


_GONE = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID)

_STATES = {
    libvirt.VIR_DOMAIN_RUNNING: "running",
    libvirt.VIR_DOMAIN_PAUSED: "paused",
    libvirt.VIR_DOMAIN_BLOCKED: "blocked",
    libvirt.VIR_DOMAIN_SHUTDOWN: "shutting down",
    libvirt.VIR_DOMAIN_SHUTOFF: "off",
    libvirt.VIR_DOMAIN_CRASHED: "crashed",
}
