"""The recipes' images in plain QEMU, with a stand-in for the context disc."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pycdlib
import pytest

from vmbatch.clock import Deadline
from vmbatch.errors import NodeError
from vmbatch.images.apt import Packages
from vmbatch.images.build import CACHE
from vmbatch.images.overlay import create_overlay
from vmbatch.images.store import Image, ImageStore

pytestmark = pytest.mark.integration

_FACTS = r"""
fact() { name=$1; shift; echo "fact $name $("$@" 2>&1 | tr '\r\n' '  ')"; }
fact id id
fact kernel uname -r
fact init cat /proc/1/comm
fact root_fs sh -c "grep ' / ' /proc/mounts"
fact disc sh -c "grep ' iso9660 ' /proc/mounts"
fact passwords sh -c "cut -d: -f2 /etc/shadow | sort -u"
fact host_keys sh -c 'find / -xdev -name "*host*key*" -path "*ssh*" -size -20 | wc -l'
fact foreign find / -xdev -path "/var/*" -prune -o ! -user root -print
fact bash bash -c 'a=(x y); echo "${a[1]} $BASH_VERSINFO"'
fact stat bash -c "stat --version"
fact ps bash -c "ps -ef"
modprobe -a 9p 9pnet_virtio cifs overlay fuse
fact modules grep -cE "^(9p|cifs|fuse|overlay) " /proc/modules
fact pts sh -c '[ -c /dev/pts/ptmx ] && stat -c %a /tmp /dev/shm'
fact ports sh -c 'cat /sys/class/virtio-ports/*/name'
for try in 1 2 3 4 5 6 7 8 9 10; do grep -q 10.0.2.15 /proc/net/fib_trie && break; sleep 0.3; done
fact address sh -c 'grep -c 10.0.2.15 /proc/net/fib_trie'
for try in 1 2 3; do (sleep 0.1 &) ; done
for try in 1 2 3 4 5 6 7 8 9 10; do
    sleep 0.5
    grep -q '^State:.Z' /proc/[0-9]*/status || break
done
fact zombies sh -c "grep -l '^State:.Z' /proc/[0-9]*/status; true"
fact uptime cat /proc/uptime
"""


def _disc(path: Path, setup: str) -> Path:
    """Write what the context disc looks like to a guest: a NoCloud seed with a setup.sh."""
    iso = pycdlib.PyCdlib()
    iso.new(rock_ridge="1.09", joliet=3, vol_ident="cidata")
    iso.add_directory("/VMBATCH", rr_name="vmbatch", joliet_path="/vmbatch")
    user_data = (
        "#cloud-config\nbootcmd:\n"
        "- mkdir -p /run/vmbatch/disc\n"
        "- mount -o ro /dev/disk/by-label/cidata /run/vmbatch/disc\n"
        "- sh /run/vmbatch/disc/vmbatch/setup.sh >/dev/console 2>&1\n"
    )
    files = {
        ("/USER", "user-data"): user_data,
        ("/META", "meta-data"): "instance-id: one\nlocal-hostname: guest\n",
        ("/VMBATCH/SETUP", "vmbatch/setup.sh"): setup,
    }
    for (short, name), text in files.items():
        data = text.encode()
        iso.add_fp(
            io.BytesIO(data),
            len(data),
            f"{short}.;1",
            rr_name=Path(name).name,
            joliet_path=f"/{name}",
        )
    iso.write(str(path))
    iso.close()
    return path


_DISC_DEVICES = {
    "virtio-blk": ("-device", "virtio-blk-pci,drive=disc"),
    "scsi": ("-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=disc"),
    "sata": ("-device", "ide-cd,drive=disc"),
}


def _boot(
    image: Image, tmp_path: Path, setup: str, *, bus: str, memory: int, seconds: float
) -> str:
    """Start a guest, wait until it has stopped by itself, return its console."""
    overlay = tmp_path / "disk.qcow2"
    create_overlay(
        overlay,
        base=image.path,
        base_format=image.format,
        uid=0,
        gid=0,
        deadline=Deadline.after(20),
    )
    disc = _disc(tmp_path / "disc.iso", setup)
    argv = [
        *("qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "qemu64"),
        *("-m", str(memory), "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"),
        *("-kernel", str(image.kernel), "-initrd", str(image.initrd)),
        *("-append", str(image.cmdline)),
        *("-drive", f"file={overlay},format=qcow2,if=none,id=root"),
        *("-device", "virtio-blk-pci,drive=root"),
        *("-netdev", "user,id=net,restrict=on"),
        *("-device", "virtio-net-pci,netdev=net,romfile="),
        *("-device", "virtio-serial-pci", "-chardev", "null,id=channel"),
        *("-device", "virtserialport,chardev=channel,name=org.vmbatch.guest.0"),
        *("-drive", f"file={disc},format=raw,if=none,id=disc,readonly=on"),
        *_DISC_DEVICES[bus],
    ]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=True
    )
    return done.stdout.decode(errors="replace")


def _facts(console: str) -> dict[str, str]:
    lines = [line.split(" ", 2) for line in console.splitlines() if line.startswith("fact ")]
    return {words[1]: words[2].strip() if len(words) > 2 else "" for words in lines}


@pytest.fixture
def tiny(images: Path) -> Image:
    return ImageStore(images).get("tiny")


def test_tiny_is_what_a_job_expects(tiny: Image, tmp_path: Path) -> None:
    console = _boot(
        tiny, tmp_path, _FACTS + "poweroff\n", bus="virtio-blk", memory=512, seconds=120
    )
    facts = _facts(console)
    assert facts["id"].startswith("uid=0(root)")
    assert facts["init"] == "init"
    assert facts["root_fs"].split()[2] == "ext4"
    assert facts["disc"].startswith("/dev/vdb /run/vmbatch/disc iso9660 ro,")
    assert facts["passwords"] == "*"
    assert facts["host_keys"] == "0"
    assert facts["foreign"] == ""
    assert facts["bash"] == "y 5"
    assert "GNU coreutils" in facts["stat"]
    assert "setup.sh" in facts["ps"]
    assert facts["modules"] == "4"
    assert facts["pts"] == "1777 1777"
    assert facts["ports"] == "org.vmbatch.guest.0"
    assert int(facts["address"]) > 0
    assert facts["zombies"] == ""
    assert float(facts["uptime"].split()[0]) < 60
    assert "reboot: Power down" in console


@pytest.mark.parametrize("bus", ["scsi", "sata"])
def test_tiny_finds_the_disc_on_other_buses(tiny: Image, tmp_path: Path, bus: str) -> None:
    console = _boot(
        tiny, tmp_path, "cat /proc/mounts; poweroff\n", bus=bus, memory=512, seconds=120
    )
    assert "/dev/sr0 /run/vmbatch/disc iso9660" in console


def test_tiny_says_when_its_disc_is_of_no_use(tiny: Image, tmp_path: Path) -> None:
    console = _boot(
        tiny, tmp_path, "(sleep 1; poweroff) & exit 7\n", bus="virtio-blk", memory=512, seconds=120
    )
    assert "vmbatch: setup.sh ended with status 7" in console


def test_debian12_takes_its_context_from_the_seed_alone(debian12: Path, tmp_path: Path) -> None:
    image = ImageStore(debian12).get("debian12")
    setup = (
        _FACTS
        + "fact seed sh -c 'cat /run/cloud-init/result.json /run/cloud-init/status.json'\n"
        + "fact failed systemctl --failed --no-legend\n"
        + "fact identity cat /etc/machine-id\n"
        + "systemctl --no-block poweroff\n"
    )
    console = _boot(image, tmp_path, setup, bus="virtio-blk", memory=1024, seconds=280)
    facts = _facts(console)
    assert facts["init"] == "systemd"
    assert facts["root_fs"].split()[2] == "ext4"
    assert set(facts["passwords"].split()) <= {"*", "!", "!*"}
    assert facts["host_keys"] == "0"
    assert facts["modules"] == "4"
    assert facts["ports"] == "org.vmbatch.guest.0"
    assert "DataSourceNoCloud" in facts["seed"]
    assert facts["failed"] == ""
    assert len(facts["identity"]) == 32
    assert "reboot: Power down" in console


def test_packages_are_fetched_once(images: Path) -> None:
    """The images are there, so their packages are: nothing is written again."""
    packages = Packages(CACHE)
    packages.refresh()
    (first,) = packages.download(["busybox-static"])
    before = first.stat()
    (second,) = packages.download(["busybox-static"])
    assert second == first
    assert (second.stat().st_ino, second.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_unreachable_mirror_is_named(tmp_path: Path) -> None:
    packages = Packages(tmp_path, {"VMBATCH_DEBIAN_MIRROR": "http://127.0.0.1:9/"})
    with pytest.raises(NodeError, match=r"from http://127\.0\.0\.1:9: ") as caught:
        packages.refresh()
    assert "VMBATCH_DEBIAN_MIRROR" in caught.value.hint


def test_overlay_on_a_full_disk_names_the_file_system(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.write_bytes(bytes(1 << 20))
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=True)
    try:
        with pytest.raises(NodeError, match="disk full: no room for the overlay") as caught:
            create_overlay(
                place / "o.qcow2",
                base=base,
                base_format="raw",
                uid=1000,
                gid=1000,
                deadline=Deadline.after(20),
            )
        assert f"the file system {place}, 0 MiB free" in caught.value.message
        assert list(place.iterdir()) == []
    finally:
        subprocess.run(["umount", place], check=True)


def test_store_on_a_full_disk_keeps_what_it_had(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    disk = tmp_path / "disk"
    disk.write_bytes(b"x" * (1 << 20))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", place], check=True)
    try:
        store = ImageStore(place / "images")
        kept = store.add(disk, "one")
        disk.write_bytes(b"y" * (1 << 20))
        with pytest.raises(NodeError, match="disk full: no room for the image"):
            store.add(disk, "one", replace=True)
        assert store.list() == (kept,)
        assert list((place / "images/tmp").iterdir()) == []
    finally:
        subprocess.run(["umount", place], check=True)


def test_overlay_belongs_to_the_owner(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.write_bytes(bytes(1 << 20))
    overlay = tmp_path / "o"
    create_overlay(
        overlay, base=base, base_format="raw", uid=1234, gid=2345, deadline=Deadline.after(20)
    )
    found = overlay.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (1234, 2345, 0o600)
