"""A mom's rules: its configuration, what ends of scripts mean, what their environment is."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmbatch.batch.local_environment import job_environment, script_environment
from vmbatch.batch.local_job import command_of, input_line, shell_status, torque_status
from vmbatch.batch.local_scripts import Verdict, epilogues, judge, prologues
from vmbatch.batch.local_submission import Submission
from vmbatch.batch.momconfig import MomConfig, parse_mom_config, read_mom_config
from vmbatch.batch.surroundings import prologue_deadline
from vmbatch.job import Owner

pytestmark = pytest.mark.unit

ALICE = Owner(
    name="alice",
    uid=1001,
    gid=1001,
    group="alice",
    groups=(("alice", 1001),),
    home="/home/alice",
    shell="/bin/bash",
)


@pytest.mark.parametrize(("alarm", "limit"), [(300, 290), (420, 410), (15, 5), (11, 1), (10, 10)])
def test_a_script_is_killed_ten_seconds_early(alarm: int, limit: int) -> None:
    assert MomConfig(alarm=alarm).script_limit == limit


def test_configuration() -> None:
    text = "# $job_starter /no\n$prologalarm 60\n$job_starter /a\n$job_starter /b c\n$usecp *:/ /\n"
    assert parse_mom_config(text) == MomConfig(alarm=60, job_starter="/b c")


@pytest.mark.parametrize("text", ["", "$prologalarm\n", "$prologalarm soon\n", "$prologalarm 0\n"])
def test_the_default_alarm(text: str) -> None:
    assert parse_mom_config(text).alarm == 300


def test_a_mom_without_configuration(tmp_path: Path) -> None:
    assert read_mom_config(tmp_path / "config") == MomConfig()


@pytest.mark.parametrize(
    ("limit", "reserve", "age", "left"),
    [(None, 10.0, 0.0, 280.0), (60.0, 10.0, 5.0, 45.0), (6.0, 10.0, 0.0, 3.0), (5.0, 1.0, 9.0, 0)],
)
def test_deadline(limit: float | None, reserve: float, age: float, left: float) -> None:
    deadline = prologue_deadline(MomConfig(), limit=limit, reserve=reserve, age=age)
    assert deadline.left() == pytest.approx(left, abs=0.5)


@pytest.mark.parametrize(
    ("returncode", "late", "interactive", "verdict"),
    [
        (0, False, False, Verdict.GO_ON),
        (1, False, False, Verdict.ABORT),
        (2, False, False, Verdict.RETRY),
        (3, False, False, Verdict.RETRY),
        (255, False, False, Verdict.RETRY),
        (-9, False, False, Verdict.GO_ON),
        (-15, False, False, Verdict.GO_ON),
        (-9, True, False, Verdict.RETRY),
        (1, False, True, Verdict.ABORT),
        (2, False, True, Verdict.ABORT),
        (-9, True, True, Verdict.ABORT),
    ],
)
def test_what_the_end_of_a_prologue_means(
    returncode: int, late: bool, interactive: bool, verdict: Verdict
) -> None:
    assert judge(returncode, timed_out=late, interactive=interactive) is verdict


def test_the_order_of_scripts() -> None:
    own = {"prologue": "/home/a/p", "epilogue": "/home/a/e"}
    mom = Path("/m")
    assert [str(s.path) for s in prologues(mom, own)] == [
        "/m/prologue",
        "/m/prologue.user",
        "/home/a/p",
    ]
    assert [str(s.path) for s in epilogues(mom, own)] == [
        "/home/a/e",
        "/m/epilogue.user",
        "/m/epilogue",
    ]
    assert [s.as_owner for s in epilogues(mom, own)] == [True, True, False]


def test_environment_of_a_script_is_small_and_complete() -> None:
    job = Submission(owner=ALICE, script=b"", resources={"nodes": "1:ppn=2"}, workdir="/w")
    assert script_environment(job, base={}, host="vm", hosts_file="/s/aux//0.vm") == {
        "LANG": "C.UTF-8",
        "PATH": "/bin:/usr/bin",
        "PBS_MSHOST": "vm",
        "PBS_NODENUM": "0",
        "PBS_NODEFILE": "/s/aux//0.vm",
        "PBS_RESOURCE_NODES": "1:ppn=2",
        "PBS_NUM_NODES": "1",
        "PBS_NUM_PPN": "2",
        "PBS_NP": "2",
        "PBS_O_WORKDIR": "/w",
    }


def test_a_sister_has_no_list_of_hosts() -> None:
    job = Submission(owner=ALICE, script=b"")
    found = script_environment(job, base={}, host="vm", hosts_file="/x", rank=1)
    assert "PBS_NODEFILE" not in found
    assert found["PBS_NODENUM"] == "1"


def test_what_a_user_injects_into_roots_environment() -> None:
    job = Submission(
        owner=ALICE,
        script=b"",
        variables={"PBS_O_WORKDIR": "/evil;$(x)", "MOAB_JOBID": "1", "PATH": "/evil", "X": "y"},
    )
    found = script_environment(job, base={}, host="vm", hosts_file="/x")
    assert found["PBS_O_WORKDIR"] == "/evil;$(x)"
    assert found["MOAB_JOBID"] == "1"
    assert found["PATH"] == "/bin:/usr/bin"
    assert "X" not in found


def test_torque_counts_wrongly_where_a_host_is_named() -> None:
    job = Submission(owner=ALICE, script=b"", resources={"nodes": "vm:ppn=2"})
    found = script_environment(job, base={}, host="vm", hosts_file="/x")
    assert [found[f"PBS_{name}"] for name in ("NUM_NODES", "NUM_PPN", "NP")] == ["0", "1", "2"]


def test_environment_of_the_job() -> None:
    job = Submission(owner=ALICE, script=b"", variables={"X": "y", "PBS_QUEUE": "mine"})
    found = job_environment(job, job_id="0.vm", base={}, host="vm", hosts_file="/x")
    assert found["PBS_ENVIRONMENT"] == "PBS_BATCH"
    assert found["PBS_JOBID"] == "0.vm"
    assert (found["X"], found["PBS_QUEUE"]) == ("y", "mine")
    assert "TERM" not in found


@pytest.mark.parametrize(
    ("code", "torque", "shell"), [(0, 0, 0), (7, 7, 7), (-15, 271, 143), (-9, 265, 137)]
)
def test_statuses(code: int, torque: int, shell: int) -> None:
    assert (torque_status(code), shell_status(code)) == (torque, shell)


def test_a_job_starter_that_is_not_there_means_the_node() -> None:
    assert command_of(MomConfig(job_starter="/no/such"), "/bin/bash") == ("/bin/bash", ["-bash"])
    assert command_of(MomConfig(job_starter="/bin/sh"), "/bin/bash") == (
        "/bin/sh",
        ["/bin/sh", "/bin/bash"],
    )


def test_the_line_that_starts_a_batch_job() -> None:
    path = Path("/jobs/0.vm.SC")
    assert input_line(path, "", replace_shell=False) == b"/jobs/0.vm.SC\n"
    assert input_line(path, 'a "b c"', replace_shell=False) == b'/jobs/0.vm.SC a "b c"\n'
    assert input_line(path, "", replace_shell=True) == b"exec /jobs/0.vm.SC\n"
