"""Which jobs live, as the reaper asks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vmbatch.batch import registry
from vmbatch.batch.liveness import LOCAL, TORQUE
from vmbatch.config import Site, load_site
from vmbatch.job import slug_of
from vmbatch.joblock import start_time

pytestmark = pytest.mark.unit


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "torque" / "mom_priv" / "jobs").mkdir(parents=True)
    (tmp_path / "local" / "running").mkdir(parents=True)
    (tmp_path / "state" / "jobs").mkdir(parents=True)
    file = tmp_path / "site.yaml"
    file.write_text(
        f"paths: {{state: {tmp_path}/state}}\n"
        f"torque: {{home: {tmp_path}/torque}}\n"
        f"local: {{home: {tmp_path}/local}}\n"
    )
    return load_site(file)


@pytest.mark.parametrize("suffix", ["SC", "JB", "TK"])
@pytest.mark.parametrize(("file", "job_id"), [("17.vm", "17.vm"), ("186-0.vm", "186[0].vm")])
def test_a_file_of_the_mom_is_a_living_job(site: Site, suffix: str, file: str, job_id: str) -> None:
    (site.torque.home / "mom_priv" / "jobs" / f"{file}.{suffix}").touch()
    assert registry.alive(TORQUE, slug_of(job_id), site)
    assert registry.alive("", slug_of(job_id), site)
    assert not registry.alive(TORQUE, "18.vm", site)


def test_a_local_job_lives_as_long_as_its_process(site: Site) -> None:
    running = site.local.home / "running"
    (running / "1.here").write_text(f"{os.getpid()} {start_time(os.getpid())}\n")
    (running / "2.here").write_text(f"{os.getpid()} 1\n")
    assert registry.alive(LOCAL, "1.here", site)
    assert not registry.alive(LOCAL, "2.here", site)


def test_a_job_that_has_just_come_is_spared(site: Site) -> None:
    place = site.paths.state / "jobs" / "5.vm"
    place.mkdir()
    assert registry.alive(TORQUE, "5.vm", site)
    os.utime(place, (0, 0))
    assert not registry.alive(TORQUE, "5.vm", site)
