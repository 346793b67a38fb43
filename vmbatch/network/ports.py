"""Leases of ports on the node's loopback address: no two guests get the same one."""

from __future__ import annotations

import secrets
import socket
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from vmbatch.errors import NodeError

LOOPBACK = "127.0.0.1"


def lease_port(
    directory: Path,
    *,
    first: int,
    last: int,
    holder: str,
    intend: Callable[[int], None],
) -> int:
    """Lease a port that nothing on this node listens on.

    Args:
        directory: where leases are kept, a file a port.
        first: lowest port.
        last: highest port.
        holder: written into the lease; only this holder can return it.
        intend: called with each port before it is leased, to put the undo on disk.

    Raises:
        NodeError: every port is taken.
    """
    for port in _candidates(first, last, holder):
        if (directory / str(port)).exists() or not _is_free(port):
            continue
        intend(port)
        if _take(directory / str(port), holder):
            return port
    raise NodeError(
        f"all ports from {first} to {last} on {LOOPBACK} are taken",
        hint="widen network.first_port and network.last_port in the site file; "
        "see what is left over with: vmbatch reap --dry-run",
    )


def return_port(directory: Path, port: int, holder: str) -> None:
    """Return a lease; harmless where it is another's, or not leased."""
    path = directory / str(port)
    try:
        if path.read_text() == holder:
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        return


def leases(directory: Path) -> Iterator[tuple[int, str]]:
    """Yield each leased port and its holder."""
    if not directory.is_dir():
        return
    for path in sorted(directory.iterdir()):
        if path.name.isdigit():
            yield int(path.name), path.read_text()


def _candidates(first: int, last: int, holder: str) -> Iterator[int]:
    count = last - first + 1
    # Neighbours in time start at different places, so that they seldom meet.
    offset = zlib.crc32(holder.encode()) % count
    return (first + (offset + step) % count for step in range(count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _take(path: Path, holder: str) -> bool:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.write_text(holder)
    try:
        # A link gives name and content at once: a lease is never seen without its holder.
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True
