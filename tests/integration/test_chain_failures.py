"""What each bad thing does: cause and hint for the owner, a right exit code, nothing left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from testbed import ROOT, USER, VMBATCH, Testbed

from vmbatch import joblock

pytestmark = pytest.mark.integration

REFUSED = 125
HELLO = str(ROOT / "examples" / "hello.sh")


def _check(errors: str, cause: str) -> None:
    assert cause in errors, errors
    assert "hint:" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("wanted", "cause"),
    [
        ("vbuserimage=nosuch", "nosuch"),
        ("vbuserimgae=tiny", "vbuserimgae"),
        ("vbuserimage=tiny+ram=900T", "ram"),
        ("vbuserimage=tiny+vcpus=many", "vcpus"),
        ("vbuserimage=../../etc/passwd", "passwd"),
        ("vbuserimage=tiny+colour=red", "colour"),
    ],
)
def test_a_bad_request_is_told_to_the_owner(node: Testbed, wanted: str, cause: str) -> None:
    done = node.job(HELLO, request=wanted)
    assert done.status == REFUSED
    assert done.out == b""
    _check(done.errors, cause)


def test_an_image_that_the_site_does_not_allow(node: Testbed) -> None:
    node.configure(profiles={"default": {"images": ["debian*"]}})
    done = node.job(HELLO)
    assert done.status == REFUSED
    _check(done.errors, "tiny")


def test_a_template_with_a_bad_tag(node: Testbed, tmp_path: Path) -> None:
    text = (ROOT / "templates-vm" / "linux.xml").read_text()
    broken = node.base / "templates"
    broken.mkdir(exist_ok=True)
    (broken / "linux.xml").write_text(text.replace("<vbuserimage/>", "<vbuserimmage/>", 1))
    node.configure(
        paths={
            "state": str(node.state),
            "run": str(node.run_dir),
            "images": str(node.images),
            "templates": str(broken),
            "log": str(node.base / "log" / "vmbatch.log"),
        }
    )
    done = node.job(HELLO)
    assert done.status == REFUSED
    _check(done.errors, "vbuserimmage")
    shutil.rmtree(broken)


def test_libvirtd_down_is_requeued_and_then_told(node: Testbed) -> None:
    node.configure(
        libvirt={"uri": "qemu+unix:///system?socket=/nonexistent"}, torque={"max_requeues": 2}
    )
    done = node.job(HELLO)
    assert done.status == REFUSED
    assert done.out == b""
    _check(done.errors, "libvirt")


@pytest.fixture(params=["64k", "320k"], ids=["overlay", "disc"])
def small_disk(node: Testbed, request: pytest.FixtureRequest) -> Iterator[tuple[Testbed, str]]:
    """The state directory on a file system with room for no overlay, or for no disc besides."""
    small = node.base / "small"
    small.mkdir()
    size = f"size={request.param},mode=755"
    node.run("mount", "-t", "tmpfs", "-o", size, "tmpfs", str(small))
    node.configure(
        paths={
            "state": str(small),
            "run": str(node.run_dir),
            "images": str(node.images),
            "log": str(node.base / "log" / "vmbatch.log"),
        },
        torque={"max_requeues": 1},
    )
    yield node, {"64k": "overlay", "320k": "disc"}[request.param]
    left = node.run("find", str(small), "-type", "f").text.split()
    node.run("umount", str(small))
    small.rmdir()
    assert left == []


def test_a_full_disk_is_named(small_disk: tuple[Testbed, str]) -> None:
    node, what = small_disk
    done = node.job(HELLO)
    assert done.status == REFUSED
    assert "full" in done.errors, done.errors
    _check(done.errors, str(node.base / "small"))
    assert what in done.errors


def _broken_image(node: Testbed, name: str, cmdline: str) -> None:
    """Put an image into the store that is `tiny` but for its command line."""
    from vmbatch.images.store import ImageStore

    store = ImageStore(node.images)
    tiny = store.get("tiny")
    store.add(
        tiny.path,
        name,
        format=tiny.format,
        kernel=tiny.kernel,
        initrd=tiny.initrd,
        cmdline=cmdline,
        shares=tiny.shares,
        replace=True,
    )


def test_a_kernel_that_panics(node: Testbed) -> None:
    _broken_image(
        node, "panics", "console=ttyS0 panic=-1 rdinit=/nonexistent root=/dev/nonexistent"
    )
    done = node.job(HELLO, request="vbuserimage=panics")
    assert done.status == REFUSED
    _check(done.errors, "ended while it booted")
    assert "panic" in done.errors.lower().split("hint:")[-1], "no tail of the console"


def test_a_guest_that_is_never_ready(node: Testbed) -> None:
    node.configure(timeouts={"ready": 6})
    _broken_image(node, "silent", "console=ttyS0 rdinit=/bin/false-that-is-not-there panic=0")
    done = node.job(HELLO, request="vbuserimage=silent")
    assert done.status == REFUSED
    _check(done.errors, "not ready within 6 s")


MUTE_SERVER = """#!/bin/sh
server=$(command -v dropbear)
mv "$server" "$server.real"
cat >"$server" <<'END'
#!/bin/sh
(while :; do busybox nc -l -p 22; done) </dev/null >/dev/null 2>&1 &
END
chmod 755 "$server"
"""


def test_ssh_refused(node: Testbed) -> None:
    prolog = node.base / "prolog.sh"
    prolog.write_text(MUTE_SERVER)
    prolog.chmod(0o755)
    node.configure(
        profiles={"default": {"prolog": str(prolog)}},
        torque={"prologue_limit": 16, "reserve": 8},
    )
    done = node.job(HELLO)
    assert done.status == REFUSED
    _check(done.errors, "ssh")


def test_a_prolog_that_fails_shows_its_output(node: Testbed) -> None:
    prolog = node.base / "prolog.sh"
    prolog.write_text("#!/bin/sh\necho licence server is down\nexit 4\n")
    prolog.chmod(0o755)
    node.configure(profiles={"default": {"prolog": str(prolog)}})
    done = node.job(HELLO)
    assert done.status == REFUSED
    _check(done.errors, "licence server is down")


def test_prolog_and_epilog_run_as_root_around_the_job(node: Testbed) -> None:
    for name in ("prolog", "epilog"):
        script = node.base / f"{name}.sh"
        script.write_text(f"#!/bin/sh\necho {name} $(id -u)\n")
        script.chmod(0o755)
    node.configure(
        profiles={
            "default": {
                "prolog": str(node.base / "prolog.sh"),
                "epilog": str(node.base / "epilog.sh"),
            }
        }
    )
    done = node.job(HELLO)
    assert done.status == 0, done.errors


def _running(node: Testbed, script: str = HELLO) -> subprocess.Popen[bytes]:
    return node.start(VMBATCH, "local", "run", "-u", USER, "-l", "other=vbuserimage=tiny", script)


def _job_dir(node: Testbed) -> Path | None:
    return next(iter((node.state / "jobs").glob("*")), None)


def _until(node: Testbed, what: str) -> Path:
    """Wait until the prologue has come to a point; `what` is a file's name or an undo's kind."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        place = _job_dir(node)
        if place and ((place / what).exists() or f'"undo":"{what}"' in _journal(place)):
            return place
    raise TimeoutError(what)


def _journal(place: Path) -> str:
    try:
        return (place / "journal").read_text()
    except FileNotFoundError:
        return ""


def _prologue_pid(node: Testbed, place: Path) -> int:
    end = time.monotonic() + 5
    while time.monotonic() < end:
        holder = joblock.holder(node.run_dir / "locks" / place.name)
        if holder:
            return holder.pid
    raise TimeoutError(place)


POINTS = (
    *("record.json", "guest.json", "id_ed25519", "disk-vda.qcow2", "context.iso"),
    *("port", "domain", "agent.sock", "console.log"),
)


@pytest.mark.parametrize("point", POINTS)
def test_a_prologue_killed_at_any_point(node: Testbed, point: str) -> None:
    """Torque takes a killed prologue for a success: the job starter must refuse."""
    running = _running(node)
    place = _until(node, point)
    os.kill(_prologue_pid(node, place), signal.SIGKILL)
    out, err = running.communicate(timeout=60)
    assert running.returncode == REFUSED, err
    assert out == b""
    _check(err.decode(), "prologue")


@pytest.mark.parametrize("point", ["record.json", "disk-vda.qcow2", "domain", "agent.sock"])
def test_a_job_deleted_while_its_guest_is_made(node: Testbed, point: str) -> None:
    running = _running(node)
    _until(node, point)
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=60)
    assert running.returncode != 0
    assert out == b""
    assert b"Traceback" not in err


def test_a_guest_that_the_hypervisor_stops_while_it_boots(node: Testbed) -> None:
    """What KVM does with a kernel that it can't run."""
    running = _running(node)
    _until(node, "console.log")
    while not (domains := node.domains()):
        time.sleep(0.05)
    start = time.monotonic()
    node.run("virsh", "suspend", domains[0])
    _, err = running.communicate(timeout=60)
    assert running.returncode == REFUSED
    assert time.monotonic() - start < 10
    _check(err.decode(), "stopped by the hypervisor with an internal error")
    assert b"accelerator: tcg" in err


def test_a_guest_that_dies_under_its_job(node: Testbed) -> None:
    running = _running(node, node.script("#!/bin/sh\necho up\nsleep 60\n"))
    assert running.stdout is not None
    assert running.stdout.readline() == b"up\n"
    subprocess.run(["pkill", "-9", "-u", USER, "qemu-system"], check=True)
    _, err = running.communicate(timeout=60)
    assert running.returncode == REFUSED
    _check(err.decode(), "guest")


def test_a_job_that_is_killed_before_it_is_in_its_guest_leaves_no_socket(node: Testbed) -> None:
    """The mute server holds remoteshell in its connect, and the mom's KILL ends it there."""
    prolog = node.base / "prolog.sh"
    prolog.write_text(MUTE_SERVER)
    prolog.chmod(0o755)
    node.configure(profiles={"default": {"prolog": str(prolog)}})
    before = set(Path("/tmp").glob("vmbatch-*"))
    running = _running(node)
    place = _until(node, "timings.json")
    end = time.monotonic() + 20
    while not list((place / "ssh").glob("*/log")):
        assert time.monotonic() < end
        time.sleep(0.02)
    remoteshell = node.run("pgrep", "-u", USER, "-f", "scripts/remoteshell").text.split()
    for pid in remoteshell:
        os.kill(int(pid), signal.SIGKILL)
    running.communicate(timeout=60)
    assert running.returncode == 137
    assert set(Path("/tmp").glob("vmbatch-*")) == before


def test_reap_finds_what_a_dead_mom_left(node: Testbed) -> None:
    running = _running(node, node.script("#!/bin/sh\necho up\nsleep 60\n"))
    assert running.stdout is not None
    assert running.stdout.readline() == b"up\n"
    kept = node.vmbatch("reap", "--dry-run")
    assert "nothing is left over" in kept.text, kept.text
    running.kill()
    running.wait(timeout=10)

    told = node.vmbatch("reap", "--dry-run")
    assert "would remove" in told.text
    assert node.domains() != []
    done = node.vmbatch("reap")
    assert done.status == 0, done.text
    assert "removed" in done.text
    assert "nothing is left over" in node.vmbatch("reap").text
    running.communicate(timeout=30)
    shutil.rmtree(node.base / "local")
