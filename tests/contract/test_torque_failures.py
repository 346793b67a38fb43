"""A prologue that can't give a job its guest: what Torque is told, and what the owner reads."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from mom_bed import ASKS, SCRIPTS, USER, Bed, Done, bed, scratch_owner, until

from vmbatch.batch import attempts
from vmbatch.batch.redirect import leads_to_us
from vmbatch.images.store import ImageStore

pytestmark = pytest.mark.contract
__all__ = ["bed", "scratch_owner"]

REFUSED = 125
ON_THE_NODE = "#!/bin/sh\ntouch ~/ran-on-the-node\nexit 0\n"


def run_job(bed: Bed, job_id: str = "0.vm") -> Done:
    """Run the job as the mom does after a prologue that exited 0."""
    starter = bed.mom_priv / "starter"
    line = f"{bed.script_path(job_id)}\n".encode()
    if starter.exists():
        return bed.run_as_job([str(starter), "/bin/bash"], line, job_id)
    return bed.run_as_job(["/bin/bash", "-l"], line, job_id)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def assert_not_on_the_node(bed: Bed) -> None:
    assert not (Path(bed.owner.home) / "ran-on-the-node").exists()


def assert_nothing_left(bed: Bed) -> None:
    for directory in (bed.state / "jobs", bed.run_dir / "jobs", bed.run_dir / "locks"):
        assert names(directory) == []
    assert [p for p in (bed.mom_priv / "jobs").iterdir() if p.suffix == ".vmbatch"] == []


def add_image(bed: Bed, name: str = "blank") -> str:
    disk = bed.base / "disk.raw"
    disk.write_bytes(bytes(1 << 20))
    ImageStore(bed.base / "images").add(disk, name, format="raw")
    return f"other=vbuserimage={name}"


@pytest.mark.parametrize("starter", [True, False], ids=["job starter", "wrapper"])
@pytest.mark.parametrize("job_id", ["0.vm", "186[0].vm"])
@pytest.mark.parametrize(
    ("resources", "cause", "hint"),
    [
        (ASKS, "there is no image named 'nope'", "hint: "),
        ("other=vbuserimage:nope", "there is no image named 'nope'", "hint: "),
        ("other=vbuserimage=x+vcpu=2", "unknown key 'vcpu'", "hint: did you mean vcpus?"),
        ("other=vbuserimage=x+ram=lots", "ram='lots' is refused", "hint: allowed is"),
        ("other=vbuserimage=x+vcpus=4000", "beyond the limit", "hint: ask for vcpus="),
        ("other=vbuserimage=a,other=vbuserimage=b", "2 entries other=", "hint: give other= once"),
        ("other=vbuserimage=x+profile=none-such", "there is no such profile", "hint: the site has"),
    ],
)
def test_what_the_owner_can_mend_is_recorded(
    bed: Bed, resources: str, cause: str, hint: str, job_id: str, starter: bool
) -> None:
    if starter:
        bed.job_starter()
    bed.script(job_id, ON_THE_NODE)
    done = bed.prologue(job_id, resources)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    job = run_job(bed, job_id)
    assert (job.status, job.out) == (REFUSED, b"")
    assert cause in job.errors
    assert hint in job.errors
    assert_not_on_the_node(bed)
    assert bed.epilogue(job_id, REFUSED).returncode == 0
    assert_nothing_left(bed)


def test_the_phase_of_the_failure_is_told(bed: Bed) -> None:
    bed.job_starter()
    bed.script("0.vm")
    bed.prologue(resources=ASKS)
    assert "phase: plan" in run_job(bed).errors


def test_the_wrapper_is_roots_and_runs_for_everybody(bed: Bed) -> None:
    script = bed.script("0.vm", ON_THE_NODE)
    bed.prologue(resources=ASKS)
    found = script.lstat()
    assert (found.st_uid, found.st_mode & 0o7777) == (0, 0o755)
    assert "--wrapped 0.vm" in script.read_text()


def test_with_a_job_starter_the_script_stays_as_it_is(bed: Bed) -> None:
    bed.job_starter()
    script = bed.script("0.vm", ON_THE_NODE)
    before = script.stat()
    bed.prologue(resources=ASKS)
    assert script.stat().st_ino == before.st_ino
    assert script.read_text() == ON_THE_NODE


def test_a_fault_of_the_site_is_recorded_at_once(bed: Bed) -> None:
    bed.configure(profiles={"default": {"template": "no-such.xml"}})
    bed.job_starter()
    bed.script("0.vm")
    assert bed.prologue(resources=ASKS).returncode == 0
    assert "no-such.xml" in run_job(bed).errors
    assert not (bed.state / "attempts" / "0.vm").exists()


def test_a_broken_site_file_refuses_jobs_that_ask(bed: Bed) -> None:
    """The defaults' paths serve, since the site's own are unknown."""
    bed.job_starter()
    bed.script("0.vm", ON_THE_NODE)
    (bed.base / "site.yaml").write_text("paths: {state: relative}\n")
    play = "for d in /run /var/lib /var/log; do\n"
    play += "mkdir -p $d/vmbatch && mount -t tmpfs none $d/vmbatch; done\n"
    play += '"$@"; echo $?; cat /run/vmbatch/jobs/0.vm'
    prologue = [str(bed.mom_priv / "prologue"), *bed.before("0.vm", ASKS)]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", play, "sh", *prologue],
        env={"PATH": "/usr/sbin:/usr/bin:/bin", "VMBATCH_CONFIG": str(bed.base / "site.yaml")},
        cwd=bed.mom_priv,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["0", "guest /var/lib/vmbatch/jobs/0.vm"]
    assert run_job(bed).status == REFUSED


def test_a_site_file_that_broke_leaves_bare_jobs_to_its_last_good_rules(bed: Bed) -> None:
    bed.configure(rules=[{"queue": "vm", "profile": "default"}])
    bed.prologue()  # compiles the rules
    bed.epilogue()
    (bed.base / "site.yaml").write_text("paths: [\n")
    assert bed.prologue().returncode == 0
    assert bed.entry() == "bare\n"
    bed.epilogue()
    bed.job_starter()
    bed.script("0.vm", ON_THE_NODE)
    bed.prologue(queue="vm")
    assert run_job(bed).status == REFUSED
    assert_not_on_the_node(bed)


# Faults of the node.


@pytest.mark.parametrize("starter", [True, False], ids=["job starter", "wrapper"])
def test_a_fault_of_the_node_sends_the_job_back_a_bounded_number_of_times(
    bed: Bed, starter: bool
) -> None:
    if starter:
        bed.job_starter()
    bed.configure(torque={"max_requeues": 2})
    (bed.state).mkdir()
    asks = add_image(bed)
    for _ in range(2):
        bed.script("0.vm", ON_THE_NODE)  # the server sends the original again
        done = bed.prologue(resources=asks)
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"/nowhere/libvirt-sock" in done.stderr
        assert b"hint: " in done.stderr
        assert b"Traceback" not in done.stderr
        bed.epilogue(status=-14)
        assert_nothing_left(bed)
    bed.script("0.vm", ON_THE_NODE)
    done = bed.prologue(resources=asks)
    assert (done.returncode, done.stderr) == (0, b"")
    job = run_job(bed)
    assert job.status == REFUSED
    assert "/nowhere/libvirt-sock" in job.errors
    assert_not_on_the_node(bed)
    bed.epilogue(status=REFUSED)
    assert_nothing_left(bed)
    assert names(bed.state / "attempts") == []


def test_an_interactive_job_is_never_sent_back(bed: Bed) -> None:
    bed.job_starter()
    asks = add_image(bed)
    assert bed.prologue(resources=asks).returncode == 0
    assert not (bed.state / "attempts" / "0.vm").exists()
    assert "/nowhere/libvirt-sock" in run_job(bed).errors


def test_an_interactive_job_that_nobody_leads_to_its_guest_is_aborted(bed: Bed) -> None:
    done = bed.prologue(resources=ASKS)
    assert done.returncode == 1
    assert b"an interactive job can't be led to its guest" in done.stderr
    assert b"hint: set $job_starter" in done.stderr
    assert bed.entry() is None


def test_where_attempts_cant_be_counted_there_is_no_other(bed: Bed) -> None:
    bed.state.mkdir()
    (bed.state / "attempts").write_text("in the way")
    assert attempts.may_requeue(bed.state, bed.run_dir, "0.vm", 3) is False


def test_counts_of_jobs_that_went_elsewhere_are_forgotten(bed: Bed) -> None:
    assert attempts.may_requeue(bed.state, bed.run_dir, "old", 3)
    os.utime(bed.state / "attempts" / "old", (0, 0))
    assert attempts.may_requeue(bed.state, bed.run_dir, "new", 3)
    assert names(bed.state / "attempts") == ["new"]


def test_no_failure_can_be_recorded(bed: Bed) -> None:
    """The state is not writable: the owner reads why in what the prologue prints."""
    bed.job_starter()
    bed.script("0.vm", ON_THE_NODE)
    bed.state.write_text("in the way")
    done = bed.prologue(resources=ASKS)
    assert done.returncode == 0
    assert b"vmbatch: " in done.stderr
    assert b"Traceback" not in done.stderr
    assert run_job(bed).status == REFUSED
    assert_not_on_the_node(bed)


def test_nothing_of_ours_is_on_standard_error_as_a_traceback(bed: Bed) -> None:
    process = bed.start("prologue", ["0.vm", USER])
    _, err = process.communicate()
    assert process.returncode == 1
    assert b"Traceback" not in err
    assert len(err.splitlines()) == 2


# Time, signals, descriptors.


def hold_lock(bed: Bed, slug: str = "0.vm") -> int:
    """Hold the job's lock, as somebody who does not answer."""
    (bed.run_dir / "locks").mkdir(parents=True)
    fd = os.open(bed.run_dir / "locks" / slug, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def test_the_deadline_is_the_moms_own_less_the_reserve(bed: Bed) -> None:
    bed.job_starter()
    with (bed.mom_priv / "config").open("a") as config:
        config.write("$prologalarm 13\n")
    bed.script("0.vm")
    hold_lock(bed)
    asks = add_image(bed)
    start = time.monotonic()
    process = bed.start("prologue", bed.before("0.vm", asks))
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert b"is held by another process" in err
    assert 0.5 < time.monotonic() - start < 2.9


def test_a_prologue_that_is_told_to_end_does_not_count_as_success(bed: Bed) -> None:
    bed.job_starter()
    bed.script("0.vm")
    hold_lock(bed)
    process = bed.start("prologue", bed.before("0.vm", add_image(bed)))
    until(lambda: waits_for_lock(process.pid))
    os.kill(process.pid, signal.SIGTERM)
    process.communicate()
    assert process.returncode == 2
    assert not (bed.state / "attempts" / "0.vm").exists()


def test_nor_does_one_that_is_told_to_end_early(bed: Bed) -> None:
    bed.script("0.vm")
    os.mkfifo(bed.mom_priv / "config")
    process = bed.start("prologue", bed.before("0.vm", add_image(bed)))
    writer = os.open(bed.mom_priv / "config", os.O_WRONLY)
    until(lambda: reads(process.pid))  # what will not come
    os.kill(process.pid, signal.SIGTERM)
    process.communicate()
    os.close(writer)
    assert process.returncode == 2


@pytest.mark.parametrize("starter", [True, False], ids=["job starter", "wrapper"])
def test_a_prologue_that_is_killed_lets_nothing_run(bed: Bed, starter: bool) -> None:
    if starter:
        bed.job_starter()
    bed.script("0.vm", ON_THE_NODE)
    lock = hold_lock(bed)
    process = bed.start("prologue", bed.before("0.vm", add_image(bed)))
    until(lambda: waits_for_lock(process.pid))
    os.kill(process.pid, signal.SIGKILL)  # which Torque takes for success
    process.communicate()
    assert process.returncode == -9
    job = run_job(bed)
    assert job.status == REFUSED
    assert "its prologue did not complete" in job.errors
    assert_not_on_the_node(bed)
    os.close(lock)
    assert bed.epilogue(status=REFUSED).returncode == 0
    assert_nothing_left(bed)


def waits_for_lock(pid: int) -> bool:
    return system_call(pid) in ("23", "270")  # select(2), pselect6(2)


def reads(pid: int) -> bool:
    return system_call(pid) == "0"


def system_call(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/syscall").read_text().split()[0]


def test_the_moms_descriptors_are_closed(bed: Bed) -> None:
    bed.job_starter()
    bed.script("0.vm")
    hold_lock(bed)
    asks = add_image(bed)
    reader, writer = os.pipe()
    process = bed.start("prologue", bed.before("0.vm", asks), pass_fds=(reader, writer))
    until(lambda: waits_for_lock(process.pid))
    found = {path.readlink() for path in Path(f"/proc/{process.pid}/fd").iterdir()}
    assert Path(f"/proc/self/fd/{reader}").readlink() not in found
    os.close(reader)
    os.close(writer)
    process.kill()


def test_the_jobs_input_is_not_touched(bed: Bed) -> None:
    bed.job_starter()
    bed.script("0.vm")
    reader, writer = os.pipe()
    os.write(writer, b"/path/of/the.SC\n")
    os.close(writer)
    process = bed.start("prologue", bed.before("0.vm", ASKS), pass_fds=(reader,))
    process.communicate()
    assert process.returncode == 0
    assert os.read(reader, 100) == b"/path/of/the.SC\n"
    os.close(reader)


# More than one node.


def test_a_sister_refuses_the_tasks_of_a_job_with_a_guest(bed: Bed) -> None:
    bed.job_starter()
    done = bed.prologue(resources=ASKS, kind="prologue.parallel", env={"PBS_NODENUM": "1"})
    assert done.returncode == 0
    task = [str(bed.mom_priv / "starter"), "bash", "-c", "touch ~/ran-on-the-node"]
    job = bed.run_as_job(task, b"", "0.vm")
    assert job.status == REFUSED
    assert "one node only for now" in job.errors
    assert_not_on_the_node(bed)
    bed.epilogue(kind="epilogue.parallel")
    assert_nothing_left(bed)


@pytest.mark.parametrize("arguments", [[], ["0.vm"], ["../../x", *"abcdefg"]])
def test_a_sisters_prologue_never_takes_the_node_down(bed: Bed, arguments: list[str]) -> None:
    process = bed.start("prologue.parallel", arguments)
    _, err = process.communicate()
    assert process.returncode == 0
    assert b"Traceback" not in err


def test_a_job_on_several_nodes_is_refused_on_the_first(bed: Bed) -> None:
    bed.job_starter()
    bed.script("0.vm")
    (bed.home / "aux" / "0.vm").write_text("vm\nvm\nvm2\n")
    assert bed.prologue(resources=add_image(bed), env={"PBS_NUM_NODES": "0"}).returncode == 0
    assert "one node only for now" in run_job(bed).errors


# What leads to us, and what does not.


def test_job_starters_that_are_ours(bed: Bed) -> None:
    shell = f"{SCRIPTS}/remoteshell"
    good = f'#!/bin/sh\nexec {shell} --run /r "$@"\n'
    starter = bed.base / "starter"
    assert leads_to_us(shell)
    bed.link("linked", Path(shell))
    assert leads_to_us(str(bed.mom_priv / "linked"))
    assert leads_to_us(str(bed.site_script(starter, good)))
    assert not leads_to_us(None)
    assert not leads_to_us(str(bed.base / "none-such"))
    assert not leads_to_us("/bin/sh")
    assert not leads_to_us(str(bed.base))
    for text, mode, owner in (
        (good, 0o644, "root"),
        (good, 0o775, "root"),
        (good, 0o755, USER),
        (f'#!/bin/sh\n# exec {shell}\nexec "$@"\n', 0o755, "root"),
        (f"#!/bin/sh\necho {shell}\n", 0o755, "root"),
        (f"#!/bin/sh\nexec 'unclosed {shell}\n", 0o755, "root"),
    ):
        assert not leads_to_us(str(bed.site_script(starter, text, mode, owner))), text


def test_the_last_job_starter_counts(bed: Bed) -> None:
    bed.job_starter()
    with (bed.mom_priv / "config").open("a") as config:
        config.write("$job_starter /bin/true\n")
    script = bed.script("0.vm", ON_THE_NODE)
    bed.prologue(resources=ASKS)
    assert "--wrapped 0.vm" in script.read_text()


@pytest.mark.parametrize("what", ["directory", "link"])
def test_what_is_no_script_is_not_wrapped(bed: Bed, what: str) -> None:
    path = bed.script_path("0.vm")
    if what == "directory":
        path.mkdir()
    else:
        path.symlink_to("/etc/passwd")
    before = Path("/etc/passwd").stat().st_ino
    assert bed.prologue(resources=ASKS).returncode in (1, 2)
    assert Path("/etc/passwd").stat().st_ino == before
    assert path.is_symlink() or path.is_dir()
