"""From the prologue's start to a job's first line, against a raw QEMU boot to a login.

    .venv/bin/python benchmarks/chain.py [RUNS]

Both sides boot the same kernel, initrd, overlay and context disc under TCG, in turns, on a
libvirtd of the benchmark's own. Needs root, and the image tiny in the store. Printed: the ratio of
the medians (target: 1.15), our own share (all but the guest's boot; target: 0.6 s after the first
guest), and the peak memory of our own processes (target: 80 MB a job).
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "integration"))

import testbed  # noqa: E402

from vmbatch.context.bundle import LOGIN, GuestContext, bundle, read_guest_scripts  # noqa: E402
from vmbatch.context.cdrom import write_disc  # noqa: E402
from vmbatch.context.keys import make_key  # noqa: E402
from vmbatch.images.store import Image, ImageStore  # noqa: E402
from vmbatch.job import find_owner  # noqa: E402

STORE = Path("/var/lib/vmbatch/images")


@dataclass(frozen=True)
class Ours:
    """One run: seconds to the first line, seconds of the guest's boot, peak memory in MB."""

    first_line: float
    boot: float
    memory: float


def chain(bed: testbed.Testbed, number: int) -> Ours:
    """Run prologue, job starter and epilogue as a mom does; returns what was measured."""
    owner = pwd.getpwnam(testbed.USER)
    job_id = f"{number}.bench"
    mom = bed.base / "mom" / "mom_priv"
    (mom / "jobs").mkdir(parents=True, exist_ok=True)
    starter = mom / "starter"
    starter.write_text(f'#!/bin/sh\nexec {ROOT}/scripts/remoteshell --run {bed.run_dir} "$@"\n')
    starter.chmod(0o755)
    (mom / "config").write_text(f"$job_starter {starter}\n")
    script = mom / "jobs" / f"{job_id}.SC"
    script.write_text("#!/bin/sh\necho first line\n")
    script.chmod(0o700)
    os.chown(script, owner.pw_uid, owner.pw_gid)
    name = owner.pw_name
    request = "other=vbuserimage=tiny,nodes=1,neednodes=1"
    before = [job_id, name, name, "bench"]
    start = time.monotonic()
    prologue = _measured(
        bed, str(ROOT / "scripts/prologue"), *before, request, "batch", "", str(script), cwd=mom
    )
    shell = _as_owner(bed, starter, owner, job_id)
    assert shell.stdin is not None and shell.stdout is not None  # noqa: S101, PT018
    shell.stdin.write(f"{script}\n".encode())
    shell.stdin.close()
    line = shell.stdout.readline()
    first_line = time.monotonic() - start
    if line != b"first line\n":
        raise SystemExit(f"the job said {line!r}")
    timings = bed.state / "jobs" / job_id / "timings.json"
    boot = dict(json.loads(timings.read_text()))["boot"]
    _, _, usage = os.wait4(shell.pid, 0)
    epilogue = _measured(
        bed,
        *(str(ROOT / "scripts/epilogue"), *before, "1", request, "", "batch", "", "0", str(script)),
        cwd=mom,
    )
    return Ours(first_line, boot, max(prologue, epilogue, usage.ru_maxrss) / 1024)


def _as_owner(
    bed: testbed.Testbed, starter: Path, owner: pwd.struct_passwd, job_id: str
) -> subprocess.Popen[bytes]:
    """Start the job starter in the bed's namespaces, which root alone can enter, as the owner."""
    become = ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
    environment = ["env", "-i", "PATH=/bin:/usr/bin", f"HOME={owner.pw_dir}", f"PBS_JOBID={job_id}"]
    return subprocess.Popen(
        bed.inside([*become, *environment, str(starter), "/bin/bash"]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def _measured(bed: testbed.Testbed, *argv: str, cwd: Path) -> int:
    """Run a script to its end; returns its peak memory in KiB."""
    inside = ["nsenter", "-t", str(bed.pid), "-m", "-n", f"--wd={cwd}", *argv]
    process = subprocess.Popen(
        inside,
        env={"PATH": "/bin:/usr/bin", "VMBATCH_CONFIG": str(bed.site_file), "PBS_NODENUM": "0"},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{argv[0]} failed: {status}")
    return usage.ru_maxrss


def raw(bed: testbed.Testbed, image: Image) -> float:
    """Boot the same image by hand; returns the seconds to a completed ssh login."""
    with tempfile.TemporaryDirectory(dir=bed.base) as scratch:
        directory = Path(scratch)
        key, host = make_key("bench"), make_key("host")
        (directory / "key").write_bytes(key.private)
        (directory / "key").chmod(0o600)
        (directory / "known").write_text(f"raw {host.public}\n")
        context = GuestContext(
            job_id="0.raw",
            hostname="raw",
            owner=find_owner(testbed.USER),
            script_dir=None,
            mounts=(),
            smb=None,
            host_key=host.private,
            host_key_public=host.public,
            authorized_key=key.public,
            prolog=None,
            epilog=None,
        )
        disc = directory / "context.iso"
        write_disc(disc, bundle(context, read_guest_scripts(ROOT / "scripts-vm")), uid=0, gid=0)
        overlay = directory / "disk.qcow2"
        create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", image.format, "-b"]
        subprocess.run([*create, image.path, overlay], check=True)
        with _qemu(directory, image, overlay, disc) as (port, start):
            while not _login(directory, port):
                pass
            return time.monotonic() - start


@contextmanager
def _qemu(directory: Path, image: Image, overlay: Path, disc: Path) -> Iterator[tuple[int, float]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [
        *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi", "-m", "512"),
        *("-nodefaults", "-display", "none", "-no-reboot", "-no-user-config", "-smp", "1"),
        *(
            "-kernel",
            str(image.kernel),
            "-initrd",
            str(image.initrd),
            "-append",
            image.cmdline or "",
        ),
        *("-drive", f"file={overlay},if=virtio,format=qcow2,cache=unsafe"),
        *("-drive", f"file={disc},if=virtio,format=raw,readonly=on"),
        *("-netdev", f"user,id=n,hostfwd=tcp:127.0.0.1:{port}-:22"),
        *("-device", "virtio-net-pci,netdev=n,romfile=", "-device", "virtio-rng-pci"),
        *("-serial", f"file:{directory / 'console'}"),
    ]
    start = time.monotonic()
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as process:
        try:
            yield port, start
        finally:
            process.kill()


def _login(directory: Path, port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.4) as connection:
            connection.settimeout(0.4)
            if not connection.recv(4):
                return False
    except OSError:
        return False
    options = ["IdentitiesOnly=yes", "BatchMode=yes", "HostKeyAlias=raw"]
    options.append(f"UserKnownHostsFile={directory / 'known'}")
    argv = ["ssh", "-F", "none", "-i", str(directory / "key"), "-p", str(port)]
    words = [word for option in options for word in ("-o", option)]
    done = subprocess.run(
        [*argv, *words, f"{LOGIN}@127.0.0.1", "true"], capture_output=True, check=False
    )
    return done.returncode == 0


def main() -> None:
    """Run both sides in turns and print the ratios."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    user = testbed.make_user(testbed.USER)
    next(user)
    base = Path(tempfile.mkdtemp(prefix="vmbatch-bench-"))
    bed = testbed.start(base, STORE)
    try:
        bed.configure(profiles={"default": {"accelerator": "tcg"}})
        image = ImageStore(STORE).get("tiny")
        chain(bed, 0)
        pairs = [(chain(bed, number + 1), raw(bed, image)) for number in range(runs)]
    finally:
        testbed.stop(bed)
        shutil.rmtree(base)
        next(user, None)
    ours = statistics.median(one.first_line for one, _ in pairs)
    theirs = statistics.median(seconds for _, seconds in pairs)
    share = statistics.median(one.first_line - one.boot for one, _ in pairs)
    memory = max(one.memory for one, _ in pairs)
    print(f"first line {ours:.2f} s, raw login {theirs:.2f} s, ratio {ours / theirs:.2f}")
    print(f"own share, all but the guest's boot: {share:.2f} s")
    print(f"peak memory of our own processes: {memory:.0f} MB")


if __name__ == "__main__":
    main()
