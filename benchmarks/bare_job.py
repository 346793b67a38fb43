#!/usr/bin/python3
"""What a bare job pays: prologue and epilogue, against two runs of a Python that does nothing.

Run as root in a checkout or an installation. All runs are interleaved, so that the ratio means
something on a busy machine too; the medians of one run are compared.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 3.0
IDLE = ["/usr/bin/python3", "-I", "-c", "pass"]


def main() -> int:
    """Print the ratio; fail where it is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=40, help="number of jobs")
    parser.add_argument("--array", action="store_true", help="ids of array jobs, such as 7[3].vm")
    arguments = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="vmbatch-bench-"))
    try:
        jobs, idle = measure(scratch, arguments.n, array=arguments.array)
    finally:
        shutil.rmtree(scratch)
    job, python = statistics.median(jobs), statistics.median(idle)
    ratio = job / (2 * python)
    print(f"prologue + epilogue of a bare job  {job * 1000:7.1f} ms  (median of {len(jobs)})")
    print(f"python3 -I -c pass, twice          {2 * python * 1000:7.1f} ms")
    print(f"ratio                              {ratio:7.2f}     (at most {LIMIT:g})")
    return 0 if ratio <= LIMIT else 1


def measure(scratch: Path, count: int, *, array: bool) -> tuple[list[float], list[float]]:
    """Return the seconds of each job's two scripts, and of each idle Python."""
    environment = prepare(scratch)
    mom_priv = scratch / "mom_priv"
    jobs, idle = [], []
    for number in range(count + 1):
        job_id = f"7[{number}].bench" if array else f"{number}.bench"
        before, after = arguments_of(job_id)
        start = time.perf_counter()
        run([str(mom_priv / "prologue"), *before], mom_priv, environment)
        run([str(mom_priv / "epilogue"), *after], mom_priv, environment)
        jobs.append(time.perf_counter() - start)
        for _ in range(2):
            start = time.perf_counter()
            run(IDLE, mom_priv, environment)
            idle.append(time.perf_counter() - start)
    return jobs[1:], idle[2:]  # the first job after a boot compiles the site file


def prepare(scratch: Path) -> dict[str, str]:
    """Lay out a mom and a site file with a rule, as a site with guests would have."""
    mom_priv = scratch / "mom_priv"
    mom_priv.mkdir()
    for name in ("prologue", "epilogue"):
        (mom_priv / name).symlink_to(ROOT / "scripts" / name)
    site_file = scratch / "vmbatch.yaml"
    site_file.write_text(
        f"paths: {{state: {scratch}/state, run: {scratch}/run, log: {scratch}/log}}\n"
        "rules: [{queue: vm*, profile: default}]\n"
    )
    return {"PATH": "/bin:/usr/bin", "LANG": "C.UTF-8", "VMBATCH_CONFIG": str(site_file)}


def arguments_of(job_id: str) -> tuple[list[str], list[str]]:
    """Return the arguments that Torque gives to the two scripts."""
    script = f"/var/spool/torque/mom_priv/jobs/{job_id}.SC"
    who = [job_id, "nobody", "nogroup", "bench"]
    resources = "nodes=1:ppn=2,walltime=00:10:00,neednodes=1:ppn=2"
    before = [*who, resources, "batch", "", script]
    after = [*who, "1234", resources, "cput=00:00:00", "batch", "", "0", script]
    return before, after


def run(argv: Sequence[str], directory: Path, environment: dict[str, str]) -> None:
    """Run one program to its end.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    subprocess.run(argv, cwd=directory, env=environment, stdin=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("this benchmark needs root, as the scripts do")
    sys.exit(main())
