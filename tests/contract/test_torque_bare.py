"""Jobs that ask for no machine, and the site's own scripts around ours."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from mom_bed import BARE, SCRIPTS, Bed, bed, scratch_owner

from vmbatch.jobid import slug_of

pytestmark = pytest.mark.contract
__all__ = ["bed", "scratch_owner"]


@pytest.mark.parametrize("job_id", ["0.vm", "186[0].vm", "1.a-b.example.org"])
@pytest.mark.parametrize("kinds", [("prologue", "epilogue"), ("prologue.parallel",) * 2])
def test_a_bare_job_has_a_token_while_it_runs(
    bed: Bed, job_id: str, kinds: tuple[str, str]
) -> None:
    after = kinds[1].replace("prologue", "epilogue")
    for _ in range(2):  # the first compiles the site file, the second finds it compiled
        done = bed.prologue(job_id, kind=kinds[0])
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        entry = bed.run_dir / "jobs" / slug_of(job_id)
        assert entry.read_text() == "bare\n"
        assert stat.S_IMODE(entry.stat().st_mode) == 0o644
        assert entry.stat().st_uid == 0
        done = bed.epilogue(job_id, kind=after)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert list((bed.run_dir / "jobs").iterdir()) == []


def test_the_script_of_a_bare_job_is_not_touched(bed: Bed) -> None:
    script = bed.script("0.vm", "#!/bin/sh\necho mine\n")
    before = script.stat()
    bed.prologue()
    after = script.stat()
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)


def test_a_bare_job_imports_next_to_nothing(bed: Bed) -> None:
    bed.prologue()
    trace = ["-X", "importtime"]
    python = SCRIPTS.parent / ".venv" / "bin" / "python"
    fast = SCRIPTS.parent / "vmbatch" / "fastpath.py"
    argv = [str(python), "-I", "-S", *trace, str(fast), "prologue", str(bed.mom_priv / "prologue")]
    done = subprocess.run(
        [*argv, *bed.before("0.vm")],
        env={"VMBATCH_CONFIG": str(bed.base / "site.yaml")},
        cwd=bed.mom_priv,
        capture_output=True,
        text=True,
        check=True,
    )
    modules = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines()}
    assert {name for name in modules if name.startswith("vmbatch")} == {
        "vmbatch",
        "vmbatch.errors",
        "vmbatch.jobid",
        "vmbatch.policy",
    }
    assert not modules & {"re", "json", "dataclasses", "pathlib", "typing", "subprocess", "site"}


def test_an_older_token_does_not_outlive_a_prologue_that_fails(bed: Bed) -> None:
    bed.prologue()
    bed.site_script(bed.mom_priv / "prologue.orig", "#!/bin/sh\nexit 0\n")
    assert bed.entry() == "bare\n"
    bed.prologue(resources="other=vbuserimage=nope,other=x")
    assert bed.entry() != "bare\n"


def test_a_rule_of_the_site_leads_a_queue_into_guests(bed: Bed) -> None:
    bed.job_starter()
    bed.prologue()
    bed.configure(rules=[{"queue": "vm", "profile": "default"}])
    bed.prologue("1.vm", queue="vm")
    assert (bed.entry("1.vm") or "").startswith("guest ")
    bed.prologue("2.vm", queue="batch")
    assert bed.entry("2.vm") == "bare\n"


def test_a_missing_interpreter_fails_closed(bed: Bed) -> None:
    tree = bed.base / "elsewhere" / "scripts"
    tree.mkdir(parents=True)
    for kind, status in (("prologue", 1), ("epilogue", 1), ("prologue.parallel", 0)):
        copy = bed.site_script(tree / kind, (SCRIPTS / kind).read_text())
        bed.link(kind, copy)
        process = bed.start(kind, bed.before("0.vm"))
        _, err = process.communicate()
        assert process.returncode == status
        assert f"{bed.base}/elsewhere has no Python to run {kind}".encode() in err
    assert bed.entry() is None


def test_a_broken_installation_fails_closed_in_one_line_of_cause(bed: Bed) -> None:
    tree = bed.base / "elsewhere"
    (tree / "scripts").mkdir(parents=True)
    (tree / "vmbatch").mkdir()
    (tree / ".venv").symlink_to(SCRIPTS.parent / ".venv")
    fast = SCRIPTS.parent / "vmbatch" / "fastpath.py"
    (tree / "vmbatch" / "fastpath.py").write_text(fast.read_text())
    script = bed.site_script(tree / "scripts" / "prologue", (SCRIPTS / "prologue").read_text())
    bed.link("prologue", script)
    done = bed.prologue()
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_epilogue_parallel_starts_with_closed_descriptors(bed: Bed) -> None:
    bed.prologue(kind="prologue.parallel")
    link = bed.mom_priv / "epilogue.parallel"
    closing = bed.site_script(bed.base / "close", f'#!/bin/sh\nexec {link} "$@" >&- 2>&-\n')
    done = subprocess.run(
        [str(closing), *bed.after("0.vm")],
        cwd=bed.mom_priv,
        env={"PATH": "/bin:/usr/bin", "VMBATCH_CONFIG": str(bed.base / "site.yaml")},
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0
    assert bed.entry() is None


def test_precancel_runs_as_the_owner(bed: Bed) -> None:
    path = bed.mom_priv / "epilogue.precancel"
    done = subprocess.run(
        [str(path), *bed.after("0.vm")], user=bed.owner.uid, cwd=bed.owner.home, check=False
    )
    assert done.returncode == 0


# The site's own scripts.

RECORD = r"""#!/bin/sh
for word; do printf "%s\n" "$word"; done >{out}
env >{out}.env
pwd >{out}.cwd
umask >{out}.umask
ls -l /proc/self/fd >{out}.fds
"""


@pytest.mark.parametrize("kind", ["prologue", "epilogue"])
def test_the_sites_script_finds_what_the_mom_gives(bed: Bed, kind: str) -> None:
    out = bed.base / "record"
    bed.site_script(bed.mom_priv / f"{kind}.orig", RECORD.format(out=out))
    reader, writer = os.pipe()
    arguments = bed.before("0.vm") if kind == "prologue" else bed.after("0.vm")
    process = bed.start(kind, arguments, env={"LANG": "C", "A": "b=c"}, pass_fds=(reader,))
    process.communicate()
    os.close(reader)
    os.close(writer)
    assert process.returncode == 0
    assert out.read_text().split("\n")[:-1] == arguments
    found = dict(line.split("=", 1) for line in Path(f"{out}.env").read_text().splitlines())
    assert found["LANG"] == "C"
    assert found["A"] == "b=c"
    assert "LC_CTYPE" not in found
    assert Path(f"{out}.cwd").read_text().strip() == str(bed.mom_priv)
    assert Path(f"{out}.umask").read_text().strip() == "0077"
    assert f" {reader} -> pipe:" in Path(f"{out}.fds").read_text()


@pytest.mark.parametrize("status", [1, 2, 5, 255])
def test_the_sites_exit_status_holds_and_nothing_is_made(bed: Bed, status: int) -> None:
    bed.prologue("9.vm")
    bed.site_script(bed.mom_priv / "prologue.orig", f"#!/bin/sh\necho no >&2\nexit {status}\n")
    done = bed.prologue()
    assert (done.returncode, done.stderr) == (status, b"no\n")
    assert bed.entry() is None
    assert bed.prologue(kind="prologue.parallel").returncode == 0


def test_a_site_script_that_a_signal_ends_is_no_success(bed: Bed) -> None:
    bed.site_script(bed.mom_priv / "prologue.orig", "#!/bin/sh\nkill -9 $$\n")
    done = bed.prologue()
    assert done.returncode == 2
    assert b"was ended by signal 9" in done.stderr
    assert bed.entry() is None


def test_the_sites_epilogue_runs_after_ours_whatever_ours_did(bed: Bed) -> None:
    seen = bed.base / "seen"
    entry = bed.run_dir / "jobs" / "0.vm"
    bed.site_script(bed.mom_priv / "epilogue.orig", f"#!/bin/sh\nls {entry} >{seen} 2>&1\nexit 3\n")
    bed.prologue()
    assert bed.epilogue().returncode == 3
    assert "No such file" in seen.read_text()
    seen.unlink()
    bed.start("epilogue", ["too", "few"]).communicate()
    assert seen.exists()


GOOD_MODES = [0o755, 0o700, 0o500, 0o555, 0o550, 0o711, 0o4755]
BAD_MODES = [0o600, 0o644, 0o775, 0o757, 0o777, 0o770, 0o100, 0o300]


@pytest.mark.parametrize("mode", GOOD_MODES)
def test_modes_that_a_mom_accepts(bed: Bed, mode: int) -> None:
    bed.site_script(bed.mom_priv / "prologue.orig", "#!/bin/sh\nexit 7\n", mode)
    assert bed.prologue().returncode == 7


@pytest.mark.parametrize(
    ("mode", "owner"), [*((mode, "root") for mode in BAD_MODES), (0o755, "vbtest2")]
)
def test_modes_and_owners_that_a_mom_refuses(bed: Bed, mode: int, owner: str) -> None:
    bed.site_script(bed.mom_priv / "prologue.orig", "#!/bin/sh\nexit 7\n", mode, owner)
    done = bed.prologue()
    assert done.returncode == 2
    assert b"is not run" in done.stderr


def test_a_site_script_that_leads_nowhere_is_skipped(bed: Bed) -> None:
    bed.link("prologue.orig", bed.base / "nowhere")
    assert bed.prologue().returncode == 0


def test_a_chain_of_links(bed: Bed) -> None:
    """The path that is called is a link to a link; the site's script stands beside the first."""
    second = bed.base / "second"
    second.symlink_to(SCRIPTS / "prologue")
    bed.link("prologue", second)
    bed.site_script(bed.mom_priv / "prologue.orig", "#!/bin/sh\nexit 7\n")
    assert bed.prologue().returncode == 7
    (bed.mom_priv / "prologue.orig").unlink()
    assert bed.prologue(resources=BARE).returncode == 0
