"""Who calls remoteshell, and what for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmbatch.errors import RequestError
from vmbatch.shell.call import SHELL, TASK, VISIT, WRAPPED, UsageError, understand

pytestmark = pytest.mark.unit
ROOT = Path(__file__).resolve().parents[2]
BATCH = {b"PBS_JOBID": b"17.vm", b"PBS_TASKNUM": b"1"}


@pytest.fixture
def piped() -> Iterator[None]:
    """Standard input is a pipe, as of a batch job."""
    saved = os.dup(0)
    reader, writer = os.pipe()
    os.dup2(reader, 0)
    yield
    os.dup2(saved, 0)
    for descriptor in (saved, reader, writer):
        os.close(descriptor)


@pytest.fixture
def silent() -> Iterator[None]:
    """Standard input is /dev/null, as of a task of pbsdsh."""
    saved = os.dup(0)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    yield
    os.dup2(saved, 0)
    os.close(saved)
    os.close(null)


@pytest.mark.usefixtures("piped")
@pytest.mark.parametrize(
    ("words", "way"),
    [
        (["/bin/bash"], SHELL),
        (["bash"], TASK),
        (["/bin/bash", "-c", "id"], TASK),
        (["7z"], TASK),
        (["17.vm", "id"], TASK),
    ],
)
def test_batch_system(words: list[str], way: str) -> None:
    call = understand(words, BATCH, leader=True)
    assert (call.way, call.job, call.run) == (way, "17.vm", "/run/vmbatch")
    assert call.words == [word.encode() for word in words]


@pytest.mark.usefixtures("piped")
def test_later_task_of_one_absolute_word() -> None:
    assert understand(["/bin/id"], {**BATCH, b"PBS_TASKNUM": b"2"}, leader=True).way == TASK


@pytest.mark.usefixtures("silent")
def test_task_that_reads_from_null() -> None:
    assert understand(["/bin/id"], BATCH, leader=True).way == TASK


@pytest.mark.parametrize("job", ["17", "17.vm", "17[3].vm.site", "186[].vm"])
def test_visit(job: str) -> None:
    for environment, leader in ((BATCH, False), ({}, True), ({}, False)):
        call = understand([job, "ls", "\udcff"], environment, leader=leader)
        assert (call.way, call.job, call.words) == (VISIT, job, [b"ls", b"\xff"])


def test_wrapper_and_registry() -> None:
    call = understand(["--run", "/r", "--wrapped", "17.vm", "--run", "x"], {}, leader=False)
    assert (call.way, call.job, call.run) == (WRAPPED, "17.vm", "/r")
    assert call.words == [b"--run", b"x"]


@pytest.mark.parametrize("words", [[], ["--help"], ["--run"], ["--run", "/r"], ["--wrapped"]])
def test_no_sense(words: list[str]) -> None:
    with pytest.raises(UsageError, match="usage: remoteshell"):
        understand(words, BATCH, leader=True)


@pytest.mark.parametrize("words", [["--wrapped", "../x"], ["17/../x"], ["17.v m"], ["17.vm\n"]])
def test_job_ids_are_checked(words: list[str]) -> None:
    with pytest.raises(RequestError):
        understand(words, {}, leader=False)


@pytest.mark.parametrize("job", [b"", b"../../etc", b"17.\xff"])
def test_job_of_the_batch_system_is_checked(job: bytes) -> None:
    with pytest.raises(RequestError):
        understand(["bash"], {b"PBS_JOBID": job}, leader=True)


def test_bare_path_imports_nothing() -> None:
    code = (
        "import os, sys; before = set(sys.modules);"
        f"sys.path.insert(0, {str(ROOT)!r});"
        "import vmbatch.shell.starter;"
        "print(*sorted(n for n in set(sys.modules) - before if n.split('.')[0] != 'vmbatch'))"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-IS", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["__future__"]
