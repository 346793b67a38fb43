"""All checks of a node, in the order in which one would mend things."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from vmbatch.batch.momconfig import MomConfig, read_mom_config
from vmbatch.batch.redirect import leads_to_us
from vmbatch.config import Site, load_site
from vmbatch.config.trust import faults
from vmbatch.doctor import mom, node, store, virtualization
from vmbatch.doctor.finding import Finding, fail, ok
from vmbatch.errors import ConfigError, VmbatchError
from vmbatch.install.daemons import KVM, SOCKETS, answers, closed_kvm, closed_passages
from vmbatch.install.reach import first_closed
from vmbatch.job import find_owner
from vmbatch.network.ports import leases

ROOT = Path(__file__).resolve().parents[2]
_LOCAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


def examine() -> Iterator[Finding]:
    """Yield the findings, each as soon as it is there."""
    yield node.check_root(os.geteuid())
    try:
        site = load_site()
    except ConfigError as error:
        yield fail("site file", error.message, error.hint)
        site = Site()
    else:
        there = "" if site.file.exists() else " (not there: all has its default)"
        yield ok("site file", f"{site.file}{there}")
    yield from _programs()
    kind, reason = _accelerator(site)
    yield from _virtualization(site)
    yield virtualization.check_accelerator(kind, reason)
    mode = KVM.stat().st_mode if KVM.exists() else None
    if kvm := virtualization.check_kvm(kind, mode, closed=closed_kvm()):
        yield kvm
    yield from _kept(site)
    yield from _users(site)
    yield from _torque(site, kind)


def _programs() -> Iterator[Finding]:
    qemu = node.find_program("qemu-system-x86_64")
    yield node.check_qemu(qemu, node.qemu_version(qemu))
    for name in node.PROGRAMS:
        yield node.check_program(name, node.find_program(name))
    for module in node.PARTS:
        yield node.check_part(module)


def _virtualization(site: Site) -> Iterator[Finding]:
    yield virtualization.check_libvirt(site.libvirt.uri, virtualization.connect)
    yield virtualization.check_virtlogd(listens=answers(SOCKETS["virtlogd"]))
    yield virtualization.check_passages(closed_passages())
    yield virtualization.check_schema()


def _accelerator(site: Site) -> tuple[str, str]:
    from vmbatch.node import accelerator

    try:
        found = accelerator(site)
    except (VmbatchError, OSError) as error:
        return "", str(error).splitlines()[0]
    return found.kind, found.reason


def _kept(site: Site) -> Iterator[Finding]:
    yield store.check_images(site.paths.images, lambda: _image_names(site))
    yield store.check_blobs(store.blob_faults(site.paths.images))
    for directory in dict.fromkeys((site.paths.state, site.paths.images, site.paths.run)):
        yield node.check_space(directory, node.free_bytes(directory))
    leased = sum(1 for _ in leases(site.paths.run / "ports"))
    network = site.network
    local = _LOCAL_PORTS.read_text()
    yield node.check_ports(network.first_port, network.last_port, local, leased)
    yield node.check_samba(node.find_program("smbd"), site.shares.mode)
    yield store.check_leftovers(lambda: _leftovers(site))


def _image_names(site: Site) -> list[str]:
    from vmbatch.images.store import ImageStore

    return [image.name for image in ImageStore(site.paths.images).list()]


def _leftovers(site: Site) -> list[str]:
    from vmbatch.batch import registry
    from vmbatch.reap import reap

    def alive(system: str, slug: str) -> bool:
        return registry.alive(system, slug, site)

    return [finding.what for finding in reap(site, alive=alive, dry_run=True)]


def _users(site: Site) -> Iterator[Finding]:
    scripts = ROOT / "scripts"
    yield node.check_reach(scripts, first_closed(scripts / "remoteshell"))
    yield node.check_trust(faults(scripts / "prologue"))
    yield node.check_local_user(site.local.user, find_owner)


def _torque(site: Site, kind: str) -> Iterator[Finding]:
    config = read_mom_config(site.torque.home / "mom_priv" / "config")
    limit = _limit(site, config)
    yield from mom.check_mom(
        site.torque.home,
        ROOT / "scripts",
        config,
        limit=limit,
        kind=kind or "tcg",
        leads_to_us=leads_to_us,
    )


def _limit(site: Site, config: MomConfig) -> int:
    configured = site.torque.prologue_limit
    return int(configured) if configured else config.script_limit
