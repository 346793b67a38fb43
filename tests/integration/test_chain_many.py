"""Many jobs, other images, what an administrator sees."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from testbed import ROOT, USER, VMBATCH, Testbed

pytestmark = pytest.mark.integration


def test_twenty_jobs_four_at_a_time_leave_nothing(node: Testbed) -> None:
    script = str(ROOT / "examples" / "exitcode.sh")
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(node.job, script, str(number), timeout=180) for number in range(20)]
    assert [job.result().status for job in jobs] == list(range(20))


@pytest.mark.timeout(300)
def test_a_stock_cloud_image_works_unchanged(node: Testbed, debian12: Path) -> None:
    node.configure(profiles={"default": {"ram": "1G"}})
    script = node.script(
        "#!/bin/bash\n. /etc/os-release; echo $ID $VERSION_ID\nid -un\nps -p 1 -o comm=\n"
        "echo made > from-debian12\nexit 42\n"
    )
    done = node.job(script, request="vbuserimage=debian12", timeout=240)
    assert done.status == 42, done.errors
    assert done.text.splitlines() == ["debian 12", USER, "systemd"]
    assert (node.home / "from-debian12").stat().st_uid == node.home.stat().st_uid


def test_what_the_administrator_sees_of_a_running_guest(node: Testbed) -> None:
    running = node.start(
        *(VMBATCH, "local", "run", "-u", USER, "-l", "other=vbuserimage=tiny"),
        node.script("#!/bin/sh\necho up\nsleep 60\n"),
    )
    assert running.stdout is not None
    assert running.stdout.readline() == b"up\n"
    try:
        rows = json.loads(node.vmbatch("guest", "list", "--json").out)
        assert [(row["owner"], row["state"], row["image"]) for row in rows] == [
            (USER, "running", "tiny")
        ]
        job = rows[0]["job"]
        shown = json.loads(node.vmbatch("guest", "show", job).out)
        assert {"boot", "domain", "disks"} <= set(shown["seconds"])
        assert node.vmbatch("guest", "log", job).status == 0
        entered = node.run(
            *("runuser", "-u", USER, "--", str(ROOT / "scripts" / "remoteshell")),
            *("--run", str(node.run_dir), job, "sh", "-c", "echo entered; id -un; exit 5"),
        )
        assert (entered.status, entered.text) == (5, f"entered\n{USER}\n"), entered.errors
        stranger = node.run(
            *("runuser", "-u", "nobody", "--", str(ROOT / "scripts" / "remoteshell")),
            *("--run", str(node.run_dir), job, "true"),
        )
        assert stranger.status != 0
        assert "hint:" in stranger.errors
    finally:
        running.terminate()
        running.communicate(timeout=30)


def test_a_bare_job_makes_nothing(node: Testbed) -> None:
    done = node.vmbatch("local", "run", "-u", USER, node.script("#!/bin/sh\nhostname\nexit 3\n"))
    assert done.status == 3, done.errors
    host = subprocess.run(["hostname"], capture_output=True, text=True, check=True).stdout
    assert done.text == host
    assert not list((node.state / "jobs").glob("*"))
