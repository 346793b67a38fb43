"""Writing a guest's disc, against genisoimage making one of the same files.

Prints the ratio of the best of each; at most 1 is wanted.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from vmbatch.context.bundle import DiscFile, GuestContext, bundle, read_guest_scripts
from vmbatch.context.cdrom import write_disc
from vmbatch.context.keys import make_key
from vmbatch.job import Owner

RUNS = 30
ROOT = Path(__file__).resolve().parents[1]


def sample() -> tuple[DiscFile, ...]:
    """Return the files of an ordinary guest's disc."""
    key = make_key("benchmark")
    owner = Owner(  # noqa: S604
        name="alice",
        uid=1000,
        gid=1000,
        group="alice",
        groups=(("alice", 1000),),
        home="/home/alice",
        shell="/bin/bash",
    )
    context = GuestContext(
        job_id="17.vm",
        hostname="vm-17",
        owner=owner,
        script_dir="/var/spool/torque/mom_priv/jobs",
        mounts=(),
        smb=None,
        host_key=key.private,
        host_key_public=key.public,
        authorized_key=key.public,
        prolog=b"#!/bin/sh\n",
        epilog=b"#!/bin/sh\n",
    )
    return bundle(context, read_guest_scripts(ROOT / "scripts-vm"))


def best(work: Callable[[Path], None], directory: Path) -> float:
    """Return the shortest of `RUNS` times in seconds; each makes its own new file."""
    times = []
    for number in range(RUNS):
        path = directory / f"{number}.iso"
        start = time.perf_counter()
        work(path)
        times.append(time.perf_counter() - start)
        path.unlink()
    return min(times)


def lay_out(files: Sequence[DiscFile], directory: Path) -> None:
    """Put the files in a directory, for genisoimage to read."""
    for file in files:
        path = directory / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)
        path.chmod(file.mode)


def genisoimage(path: Path, source: Path) -> None:
    """Make the disc as the cloud-init documentation does."""
    words = ["genisoimage", "-quiet", "-volid", "cidata", "-joliet", "-rock", "-output"]
    subprocess.run([*words, path, source], check=True, stderr=subprocess.DEVNULL)


def main() -> int:
    """Print both times and their ratio."""
    files = sample()
    with tempfile.TemporaryDirectory(prefix="vmbatch-iso-") as name:
        scratch = Path(name)
        source = scratch / "source"
        lay_out(files, source)
        uid, gid = os.getuid(), os.getgid()
        ours = best(lambda path: write_disc(path, files, uid=uid, gid=gid), scratch)
        theirs = best(lambda path: genisoimage(path, source), scratch)
    print(f"write_disc  {ours * 1e3:6.2f} ms, best of {RUNS}")
    print(f"genisoimage {theirs * 1e3:6.2f} ms, best of {RUNS}")
    print(f"ratio iso {ours / theirs:.2f} (at most 1)")
    return 0 if ours <= theirs else 1


if __name__ == "__main__":
    sys.exit(main())
