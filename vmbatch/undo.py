"""Undoing: the journal backwards, each undo harmless where there is nothing to undo."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from vmbatch.clock import Deadline
from vmbatch.config import Site
from vmbatch.errors import NodeError, VmbatchError
from vmbatch.jobdir import JobDir, unregister
from vmbatch.journal import Undo
from vmbatch.network.ports import return_port


@dataclass(frozen=True, slots=True)
class Scene:
    """What an undo may need to know besides its record."""

    site: Site
    place: JobDir
    deadline: Deadline


def undo_all(place: JobDir, site: Site, deadline: Deadline) -> None:
    """Undo everything that a job's journal tells, then remove its directory and its entry.

    Raises:
        NodeError: something could not be undone; its record is kept for the next try.
    """
    scene = Scene(site, place, deadline)
    with _uninterrupted():
        failures = [text for undo in place.journal.backwards() if (text := _try(undo, scene))]
        if failures:
            raise NodeError(
                f"not all of {place.slug} could be removed: {'; '.join(failures)}",
                hint="mend the cause, then run: vmbatch reap",
            )
        try:
            unregister(place.run, place.slug)
            place.remove()
        except OSError as error:
            raise NodeError(
                f"can't remove {error.filename}: {error.strerror}", hint="then: vmbatch reap"
            ) from error


def _try(undo: Undo, scene: Scene) -> str:
    try:
        _UNDOS[undo.kind](undo, scene)
    except VmbatchError as error:
        return error.message
    return ""


def _end_domain(undo: Undo, scene: Scene) -> None:
    from vmbatch.hypervisor.connection import Hypervisor  # bare jobs never come here
    from vmbatch.hypervisor.process import kill_guest

    name = undo.text("name")
    kill_guest(name, undo.number("uid"), scene.deadline)
    with Hypervisor(scene.site.libvirt.uri) as hypervisor:
        hypervisor.destroy(name)


def _return_port(undo: Undo, scene: Scene) -> None:
    return_port(scene.place.run / "ports", undo.number("port"), scene.place.slug)


def _end_processes(undo: Undo, scene: Scene) -> None:
    from vmbatch.shares.group import stop_process_group

    stop_process_group(undo.number("pid"), undo.number("started"), scene.deadline)


_UNDOS: Mapping[str, Callable[[Undo, Scene], None]] = {
    "domain": _end_domain,
    "port": _return_port,
    "processes": _end_processes,
}


@contextmanager
def _uninterrupted() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
