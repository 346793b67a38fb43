from __future__ import annotations

from pathlib import Path

import pytest

from vmbatch.batch.torque_call import (
    RETRY,
    cores_of,
    hosts,
    memory_of,
    node_rank,
    parse_epilogue,
    parse_prologue,
    to_job,
)
from vmbatch.errors import NodeError, RequestError, SiteError

pytestmark = pytest.mark.unit

BEFORE = ["0.vm", "root", "root", "j1", "nodes=1", "batch", "", "/no/such/0.vm.SC"]
AFTER = [*BEFORE[:4], "899", "nodes=1", "cput=00:00:00", "batch", "", "271", "/no/such/0.vm.SC"]


@pytest.mark.parametrize("job_id", ["0.vm", "186[0].vm"])
@pytest.mark.parametrize("name", ["j1", "a/b", "a;b", "X-0"])
def test_prologue(job_id: str, name: str) -> None:
    call = parse_prologue([job_id, *BEFORE[1:3], name, *BEFORE[4:]])
    assert (call.job_id, call.name, call.account) == (job_id, name, "")
    assert call.interactive


@pytest.mark.parametrize("status", [0, 7, 271, 265, -2, RETRY, -11, -4, -3])
def test_epilogue(status: int) -> None:
    call = parse_epilogue([*AFTER[:9], str(status), AFTER[10]])
    assert (call.job_id, call.exit_status) == ("0.vm", status)


def test_too_few_arguments() -> None:
    with pytest.raises(NodeError, match="7 arguments"):
        parse_prologue(BEFORE[:7])
    with pytest.raises(NodeError, match="8 arguments"):
        parse_epilogue(BEFORE)


@pytest.mark.parametrize("job_id", ["", "../../etc", "-rf", "a b", "x\n"])
def test_what_is_no_job_id(job_id: str) -> None:
    with pytest.raises(RequestError):
        parse_prologue([job_id, *BEFORE[1:]])


def test_a_job(tmp_path: Path) -> None:
    script = tmp_path / "0.vm.SC"
    script.touch()
    environ = {"PBS_NODENUM": "0", "PBS_O_WORKDIR": "/evil;$(x)"}
    job = to_job(parse_prologue([*BEFORE[:7], str(script)]), environ=environ, system="torque")
    assert (job.script, job.workdir, job.node_rank) == (script, "/evil;$(x)", 0)
    assert job.owner.uid == 0


def test_a_user_that_the_node_does_not_know() -> None:
    call = parse_prologue(["0.vm", "no-such-user", *BEFORE[2:]])
    with pytest.raises(SiteError, match="no-such-user"):
        to_job(call, environ={}, system="torque")


@pytest.mark.parametrize(("text", "rank"), [("0", 0), ("3", 3), ("x", 0), ("-1", 0)])
def test_rank(text: str, rank: int) -> None:
    assert node_rank({"PBS_NODENUM": text}) == rank


def test_hosts_come_from_the_moms_own_file(tmp_path: Path) -> None:
    (tmp_path / "aux").mkdir()
    (tmp_path / "aux" / "1.vm").write_text("vm\nvm\nvm2\n")
    other = tmp_path / "spoofed"
    other.write_text("vm\n")
    environ = {"PBS_NODEFILE": str(other), "PBS_NUM_NODES": "0"}
    assert hosts("1.vm", mom_home=tmp_path, environ=environ) == ("vm", "vm2")
    assert hosts("2.vm", mom_home=tmp_path, environ=environ) == ("vm",)
    assert hosts("2.vm", mom_home=tmp_path, environ={}) == ()


@pytest.mark.parametrize(
    ("resources", "mib"),
    [
        ("nodes=1,mem=512mb", 512),
        ("mem=2gb,other=x", 2048),
        ("mem=2GB", 2048),
        ("mem=1048576kb", 1024),
        ("mem=512mb,other=a=1,mem=900gb", 512),
        ("nodes=1", None),
        ("other=vmem=9gb", None),
    ],
)
def test_memory(resources: str, mib: int | None) -> None:
    assert memory_of(resources) == mib


def test_cores() -> None:
    assert (cores_of({"PBS_NP": "4"}), cores_of({}), cores_of({"PBS_NP": "0"})) == (4, None, None)
