"""The embedded batch system is one pbs_mom: the table of scripts, exit codes and events."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from mom_bed import ASKS, USER, Bed, alive, bed, scratch_owner, until

pytestmark = pytest.mark.contract
__all__ = ["bed", "scratch_owner"]

QUIET = "#!/bin/sh\nexit 0\n"


@pytest.fixture
def mom(bed: Bed) -> Bed:
    """A mom of which `bed.mom_priv` is the embedded batch system's, without a job starter."""
    (bed.mom_priv / "config").write_text("$prologalarm 300\n")
    bed.configure(local={"user": USER, "home": str(bed.home), "kill_delay": 1})
    return bed


def recorder(mom: Bed, name: str, then: str = "exit 0", mode: int = 0o755) -> Path:
    """Put a script of the site's in `mom_priv` that records what it finds in `$MARKS/NAME.*`."""
    marks = mom.base / "marks"
    marks.mkdir(exist_ok=True)
    marks.chmod(0o777)
    (marks / "order").touch()
    (marks / "order").chmod(0o666)
    out = marks / name
    text = f"""#!/bin/sh
echo {name} >>{marks}/order
for word; do printf '%s\\n' "$word"; done >{out}.argv
env >{out}.env; pwd >{out}.cwd; umask >{out}.umask; id >{out}.id
ls -l /proc/self/fd >{out}.fds
ps -o pid=,pgid=,sid=,tty= -p $$ >{out}.ps
grep -E 'SigIgn' /proc/$$/status >{out}.sig
{then}
"""
    return mom.site_script(mom.mom_priv / name, text, mode)


def mark(mom: Bed, name: str) -> str:
    return (mom.base / "marks" / name).read_text()


def order(mom: Bed) -> list[str]:
    return mark(mom, "order").split()


# Who runs, when, with what.


def test_what_a_prologue_is_given(mom: Bed) -> None:
    recorder(mom, "prologue")
    done = mom.local("-N", "a;b", "-A", "acct/1", "-q", "vm", "-l", "nodes=1:ppn=2",
                     mom.job(QUIET), cwd=mom.base)  # fmt: skip
    assert done.status == 0, done.errors
    job_id, user, group, name, resources, queue, account, script = mark(
        mom, "prologue.argv"
    ).splitlines()
    assert (user, group, name, queue, account) == (USER, mom.owner.group, "a;b", "vm", "acct/1")
    assert resources == "nodes=1:ppn=2,walltime=01:00:00,neednodes=1:ppn=2"
    assert script == f"{mom.mom_priv}/jobs/{job_id}.SC"
    environment = dict(line.split("=", 1) for line in mark(mom, "prologue.env").splitlines())
    host = environment["PBS_MSHOST"]
    for added in ("PWD", "SHLVL", "OLDPWD", "_", "VMBATCH_CONFIG"):
        environment.pop(added, None)
    assert environment == {
        "LANG": "C.UTF-8",
        "PATH": "/bin:/usr/bin",
        "PBS_MSHOST": host,
        "PBS_NODENUM": "0",
        "PBS_NODEFILE": f"{mom.home}/aux//{job_id}",
        "PBS_RESOURCE_NODES": "1:ppn=2",
        "PBS_NUM_NODES": "1",
        "PBS_NUM_PPN": "2",
        "PBS_NP": "2",
        "PBS_O_WORKDIR": str(mom.base),
    }
    assert mark(mom, "prologue.cwd").strip() == str(mom.mom_priv)
    assert mark(mom, "prologue.umask").strip() == "0077"
    assert mark(mom, "prologue.id").strip() == "uid=0(root) gid=0(root) groups=0(root)"
    pid, pgid, sid, tty = mark(mom, "prologue.ps").split()
    assert pid == pgid == sid
    assert tty == "?"
    assert int(mark(mom, "prologue.sig").split()[1], 16) & (1 << (signal.SIGPIPE - 1))
    fds = mark(mom, "prologue.fds")
    assert " 0 -> /dev/null" in fds
    assert f" 2 -> {mom.home}/spool/{job_id}.ER" in fds
    for number in (9, 11, 14):  # the mom's own; the first is the job's standard input
        assert f" {number} -> pipe:" in fds


def test_what_an_epilogue_is_given(mom: Bed) -> None:
    recorder(mom, "epilogue")
    assert mom.local(mom.job("#!/bin/sh\nexit 7\n")).status == 7
    words = mark(mom, "epilogue.argv").split("\n")[:-1]
    assert len(words) == 11
    assert words[1:4] == [USER, mom.owner.group, "job.sh"]
    assert int(words[4]) > 1
    assert words[5] == "nodes=1,walltime=01:00:00,neednodes=1"
    assert words[6].startswith("cput=00:00:00,vmem=0kb,walltime=00:00:0")
    assert (words[7], words[8], words[9]) == ("batch", "", "7")
    assert words[10] == f"{mom.mom_priv}/jobs/{words[0]}.SC"
    assert mark(mom, "epilogue.umask").strip() == "0022"


def test_the_order_of_all_scripts_and_who_runs_them(mom: Bed) -> None:
    names = ("prologue", "prologue.user", "epilogue", "epilogue.user")
    for name in names:
        recorder(mom, name)
    own = {}
    for name in ("own-prologue", "own-epilogue"):
        own[name] = recorder(mom, name)
        os.chown(own[name], mom.owner.uid, mom.owner.gid)
    presetup = recorder(mom, "presetup")
    (mom.mom_priv / "config").write_text(f"$presetup_prologue {presetup}\n")
    resources = f"prologue={own['own-prologue']},epilogue={own['own-epilogue']}"
    assert mom.local("-l", resources, mom.job(QUIET)).status == 0
    assert order(mom) == ["presetup", "prologue", "prologue.user", "own-prologue",
                          "own-epilogue", "epilogue.user", "epilogue"]  # fmt: skip
    for name in ("prologue.user", "own-prologue", "own-epilogue", "epilogue.user"):
        assert f"({USER})" in mark(mom, f"{name}.id").split()[0]
        assert mark(mom, f"{name}.cwd").strip() == mom.owner.home
    assert len(mark(mom, "presetup.argv").split("\n")) == 10


def test_what_scripts_print_is_the_jobs(mom: Bed) -> None:
    for name in ("prologue", "epilogue"):
        recorder(mom, name, f"echo {name}; echo {name} >&2")
    done = mom.local(mom.job("#!/bin/sh\necho job; echo job >&2\n"))
    assert done.out == done.err == b"prologue\njob\nepilogue\n"


# Which scripts run at all.


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o500, 0o555, 0o550, 0o711, 0o4755])
def test_modes_of_root_scripts_that_run(mom: Bed, mode: int) -> None:
    recorder(mom, "prologue", mode=mode)
    assert mom.local(mom.job(QUIET)).status == 0
    assert order(mom) == ["prologue"]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o775, 0o757, 0o777, 0o770, 0o100, 0o300])
def test_modes_of_root_scripts_that_send_the_job_back(mom: Bed, mode: int) -> None:
    recorder(mom, "prologue", mode=mode)
    recorder(mom, "epilogue")
    done = mom.local("--attempts", "2", mom.job("#!/bin/sh\necho ran\n"))
    assert (done.status, done.out) == (1, b"")
    assert order(mom) == ["epilogue", "epilogue"]
    assert mark(mom, "epilogue.argv").split("\n")[9] == "-14"


def test_an_owner_that_sends_the_job_back(mom: Bed) -> None:
    os.chown(recorder(mom, "prologue"), mom.owner.uid, 0)
    assert mom.local("--attempts", "1", mom.job(QUIET)).status == 1


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o711])
def test_user_scripts_must_be_readable_by_all(mom: Bed, mode: int) -> None:
    recorder(mom, "prologue.user", mode=mode)
    assert mom.local("--attempts", "1", mom.job(QUIET)).status == 1


def test_no_interpreter_line_sends_the_job_back(mom: Bed) -> None:
    mom.site_script(mom.mom_priv / "prologue", "exit 0\n")
    assert mom.local("--attempts", "1", mom.job(QUIET)).status == 1


def test_a_dangling_script_is_skipped_without_a_word(mom: Bed) -> None:
    """And so the job runs on the node, unless the job starter demands a token."""
    mom.link("prologue", mom.base / "nowhere")
    assert mom.local(mom.job("#!/bin/sh\necho on the node\n")).out == b"on the node\n"
    mom.job_starter()
    done = mom.local(mom.job("#!/bin/sh\necho on the node\n"))
    assert (done.status, done.out) == (125, b"")
    assert "its prologue did not complete" in done.errors


# What their ends mean.


@pytest.mark.parametrize("name", ["prologue", "prologue.user"])
def test_exit_1_aborts_and_withholds_the_output(mom: Bed, name: str) -> None:
    recorder(mom, name, "echo what the prologue said; exit 1")
    recorder(mom, "epilogue")
    done = mom.local(mom.job("#!/bin/sh\necho ran\n"))
    assert (done.status, done.out) == (1, b"")
    assert "with exit status 1" in done.errors
    assert mark(mom, "epilogue.argv").split("\n")[9] == "-2"
    kept = [Path(word) for word in done.errors.split() if word.endswith(".OU")]
    assert kept[0].read_text() == "what the prologue said\n"


@pytest.mark.parametrize("status", [2, 3, 4, 5, 255])
def test_other_statuses_send_the_job_back_and_deliver_each_time(mom: Bed, status: int) -> None:
    recorder(mom, "prologue", f"echo try; exit {status}")
    recorder(mom, "epilogue")
    done = mom.local("--attempts", "3", mom.job("#!/bin/sh\necho ran\n"))
    assert (done.status, done.out) == (1, b"try\n" * 3)
    assert "Torque would try for ever" in done.errors
    assert order(mom) == ["prologue", "epilogue"] * 3
    assert mark(mom, "epilogue.argv").split("\n")[4] == "0"
    assert mark(mom, "epilogue.argv").split("\n")[9] == "-14"
    assert mom_spool(mom) == []


def mom_spool(mom: Bed) -> list[str]:
    return [
        path.name
        for name in ("spool", "aux", "running", "mom_priv/jobs")
        for path in (mom.home / name).iterdir()
    ]


def test_each_try_has_the_original_script(mom: Bed) -> None:
    recorder(mom, "prologue", 'cat "$8"; echo "echo changed" >"$8"; exit 2')
    assert mom.local("--attempts", "2", mom.job("echo original\n")).out == b"echo original\n" * 2


@pytest.mark.parametrize("number", [9, 15])
def test_a_prologue_that_a_signal_ends_counts_as_success(mom: Bed, number: int) -> None:
    recorder(mom, "prologue", f"kill -{number} $$")
    assert mom.local(mom.job("#!/bin/sh\necho ran\n")).out == b"ran\n"


def test_the_alarm_kills_the_session_but_not_who_left_it(mom: Bed) -> None:
    pids = mom.base / "pids"
    recorder(
        mom, "prologue", f"setsid sleep 60 & echo $! >{pids}; sleep 60 & echo $! >>{pids}; wait"
    )
    (mom.mom_priv / "config").write_text("$prologalarm 11\n")
    done = mom.local("--attempts", "1", mom.job("#!/bin/sh\necho ran\n"))
    assert (done.status, done.out) == (1, b"")
    left, killed = (int(pid) for pid in pids.read_text().split())
    assert alive(left)
    assert not alive(killed)
    os.kill(left, signal.SIGKILL)


@pytest.mark.parametrize("end", ["exit 1", "exit 2", "kill -9 $$"])
def test_the_end_of_an_epilogue_changes_nothing(mom: Bed, end: str) -> None:
    recorder(mom, "epilogue.user", end)
    recorder(mom, "epilogue", end)
    assert mom.local(mom.job("#!/bin/sh\nexit 6\n")).status == 6
    assert order(mom) == ["epilogue.user", "epilogue"]


def test_what_a_prologue_leaves_behind_lives_on(mom: Bed) -> None:
    pid_file = mom.base / "pid"
    recorder(mom, "prologue", f"sleep 60 >/dev/null 2>&1 & echo $! >{pid_file}")
    assert mom.local(mom.job("#!/bin/sh\necho ran\n")).out == b"ran\n"
    pid = int(pid_file.read_text())
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)


def test_a_prologue_that_reads_the_moms_descriptor_takes_the_jobs_input(mom: Bed) -> None:
    """Why ours closes what it did not open."""
    text = (
        "#!/bin/bash\nfor fd in {9..19}; do read -rt 0.1 -u $fd line && echo $line; done; exit 0\n"
    )
    mom.site_script(mom.mom_priv / "prologue", text)
    done = mom.local(mom.job("#!/bin/sh\necho ran\n"))
    assert done.out.startswith(f"{mom.mom_priv}/jobs/".encode())
    assert b"ran" not in done.out


# Deleting, limits.


def test_deleting_a_running_job(mom: Bed) -> None:
    recorder(mom, "epilogue")
    recorder(mom, "epilogue.precancel")
    running = mom.start_local(mom.job("#!/bin/sh\necho up\nexec sleep 60\n"))
    assert running.stdout
    assert running.stdout.readline() == b"up\n"
    running.terminate()
    running.communicate(timeout=20)
    assert running.returncode == 143
    assert order(mom) == ["epilogue.precancel", "epilogue"]
    assert f"({USER})" in mark(mom, "epilogue.precancel.id").split()[0]
    assert mark(mom, "epilogue.argv").split("\n")[9] == "271"


def test_deleting_a_job_that_will_not_end(mom: Bed) -> None:
    recorder(mom, "epilogue")
    starter = "#!/bin/sh\ntrap : TERM\necho up\nwhile :; do sleep 0.1; done\n"
    path = mom.site_script(mom.mom_priv / "stubborn", starter)
    (mom.mom_priv / "config").write_text(f"$job_starter {path}\n")
    running = mom.start_local(mom.job(QUIET))
    assert running.stdout
    assert running.stdout.readline() == b"up\n"
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=20)
    assert running.returncode == 137
    assert mark(mom, "epilogue.argv").split("\n")[9] == "265"


def test_a_job_starter_has_the_whole_delay_to_end(mom: Bed) -> None:
    starter = "#!/bin/sh\ntrap 'sleep 0.5; echo saved; exit 9' TERM\necho up\nsleep 60 & wait $!\n"
    path = mom.site_script(mom.mom_priv / "saving", starter)
    (mom.mom_priv / "config").write_text(f"$job_starter {path}\n")
    running = mom.start_local("--kill-delay", "5", mom.job(QUIET))
    assert running.stdout
    running.stdout.readline()
    running.terminate()
    assert running.communicate(timeout=20)[0] == b"saved\n"
    assert running.returncode == 9


def test_deleting_a_job_whose_prologue_runs(mom: Bed) -> None:
    """The epilogue runs beside the prologue, which nobody ends."""
    marks = mom.base / "marks"
    recorder(mom, "prologue", f"while ! [ -e {marks}/epilogue.argv ]; do sleep 0.05; done; "
             f"sleep 0.3; echo prologue-ends >>{marks}/order")  # fmt: skip
    recorder(mom, "epilogue")
    running = mom.start_local(mom.job("#!/bin/sh\necho ran\n"))
    until(lambda: (marks / "prologue.sig").exists())
    running.terminate()
    out, err = running.communicate(timeout=20)
    assert (running.returncode, out) == (143, b"")
    assert b"was deleted before it began" in err
    assert order(mom) == ["prologue", "epilogue", "prologue-ends"]
    words = mark(mom, "epilogue.argv").split("\n")
    assert (words[4], words[9]) == ("0", "0")


def test_walltime(mom: Bed) -> None:
    recorder(mom, "epilogue")
    recorder(mom, "epilogue.precancel")
    done = mom.local("-l", "walltime=1", mom.job("#!/bin/sh\nexec sleep 60\n"))
    assert done.status == 143
    assert done.errors == "=>> PBS: job killed: walltime 1 exceeded limit 1\n"
    assert mark(mom, "epilogue.argv").split("\n")[9] == "-11"
    assert mark(mom, "epilogue.precancel.argv").split("\n")[9] == "-11"


def test_the_prologue_is_not_part_of_the_walltime(mom: Bed) -> None:
    recorder(mom, "prologue", "sleep 1.5")
    assert mom.local("-l", "walltime=1", mom.job("#!/bin/sh\necho ran\n")).out == b"ran\n"


def test_nothing_of_the_session_outlives_the_job(mom: Bed) -> None:
    pid_file = Path(mom.owner.home) / "pid"
    mom.local(mom.job(f"#!/bin/sh\nsleep 60 & echo $! >{pid_file}\n"))
    assert not alive(int(pid_file.read_text()))


# What qsub refuses.


@pytest.mark.parametrize(
    ("resources", "status", "text"),
    [
        ("other=a=1,b=2", 189, "Unknown resource type  Resource_List.b"),
        ("other", 1, "Cannot find an attr=value pair"),
        ("vbuserimage=x", 189, "Unknown resource type"),
        ("nodes=2", 190, "cannot locate feasible nodes"),
    ],
)
def test_refused_resources(mom: Bed, resources: str, status: int, text: str) -> None:
    done = mom.local("-l", resources, mom.job(QUIET))
    assert done.status == status
    assert text in done.errors


def test_directives_of_the_script(mom: Bed) -> None:
    recorder(mom, "prologue")
    mom.local("-l", "other=cmd", mom.job("#!/bin/sh\n#PBS -l other=dir,mem=1gb -N named\n"))
    words = mark(mom, "prologue.argv").split("\n")
    assert words[3] == "named"
    assert words[4] == "other=cmd,mem=1gb,nodes=1,walltime=01:00:00,neednodes=1"


def test_our_prologue_and_a_job_without_a_guest(mom: Bed) -> None:
    """The whole way with our own scripts, to a refusal in the owner's words."""
    mom.job_starter()
    done = mom.local("-l", ASKS.partition(",")[0], mom.job("#!/bin/sh\necho on the node\n"))
    assert (done.status, done.out) == (125, b"")
    assert "there is no image named 'nope'" in done.errors
    assert list((mom.state / "jobs").iterdir()) == []
    assert list((mom.run_dir / "jobs").iterdir()) == []


def test_the_reaper_is_told_which_jobs_live(mom: Bed) -> None:
    from vmbatch.batch.liveness import local_alive

    running = mom.start_local("--job-id", "5[2].local", mom.job("#!/bin/sh\necho up\nread x\n"),
                              "--", stdin=subprocess.DEVNULL)  # fmt: skip
    until(lambda: local_alive("5[2].local", mom.home) or running.poll() is not None)
    running.communicate(timeout=20)
    assert not local_alive("5[2].local", mom.home)
