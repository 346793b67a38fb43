"""Making a guest: the steps from a plan to a machine that its owner can enter."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vmbatch.boot import Boot
from vmbatch.clock import Deadline, Phases
from vmbatch.config import Profile, Site, template_file
from vmbatch.context.bundle import LOGIN, GuestContext, Mount, SmbLogin, bundle, read_guest_scripts
from vmbatch.context.cdrom import write_disc
from vmbatch.context.keys import KeyPair, make_key
from vmbatch.domainxml.parse import parse_template
from vmbatch.domainxml.render import DiskFile, DomainValues, Forward, render
from vmbatch.errors import SiteError
from vmbatch.images.overlay import create_empty, create_overlay
from vmbatch.images.store import ImageStore
from vmbatch.job import Job, Owner
from vmbatch.jobdir import JobDir, register_guest, write_file, write_json
from vmbatch.network.ports import LOOPBACK, lease_port
from vmbatch.node import accelerator
from vmbatch.plan import DiskPlan, GuestPlan, choose_images, make_plan
from vmbatch.request import Request
from vmbatch.shares.check import check_as_owner
from vmbatch.shares.choose import Share
from vmbatch.shares.smb import SmbServer, start_smb

log = logging.getLogger(__name__)

PACKAGE_ROOT = Path(__file__).resolve().parent.parent
"""Beside the package: scripts, templates-vm, scripts-vm, in a checkout and installed alike."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one guest."""

    host: KeyPair
    owner: KeyPair


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes one guest in one job directory.

    Args:
        place: the job's directory, not there yet.
        site: the site file.
        phases: where each step's seconds go.
        deadline: when to give up.
    """

    place: JobDir
    site: Site
    phases: Phases
    deadline: Deadline

    def make(self, job: Job, *, request: Request, profile: Profile, keep_script: bool) -> GuestPlan:
        """Make the guest and wait until it can be entered; see `vmbatch.lifecycle.provision`."""
        with self.phases.step("plan"):
            plan = self._plan(job, request, profile)
        with self.phases.step("keys"):
            self._open_directory(plan, profile, keep_script=keep_script)
            keys = self._make_keys(job)
        with self.phases.step("disks"):
            disks = self._make_disks(plan)
        with self.phases.step("shares"):
            shares, server = self._serve_shares(plan)
        with self.phases.step("context"):
            self._write_disc(plan, profile, keys, shares, server)
        forward = None if plan.template.own_network else self._lease()
        xml = self._render(plan, profile, disks, shares, forward)
        boot = Boot(self.place, self.site, self.phases, self.deadline)
        host, port = boot.start(plan, xml, forward)
        self._announce(job, host, port, keep_script=keep_script)
        return plan

    def _plan(self, job: Job, request: Request, profile: Profile) -> GuestPlan:
        template = parse_template(template_file(self.site, profile))
        store = ImageStore(self.site.paths.images)
        names = choose_images(template, request, profile)
        images = {target: store.get(name) for target, name in names.items()}
        return make_plan(
            job,
            request=request,
            profile=profile,
            site=self.site,
            template=template,
            images=images,
        )

    def _open_directory(self, plan: GuestPlan, profile: Profile, *, keep_script: bool) -> None:
        job, place = plan.job, self.place
        place.create()
        write_json(place.record, record_of(plan, profile))
        starting = {"state": "starting", "job": job.id}
        write_json(place.guest, starting, mode=0o400, uid=job.owner.uid, gid=job.owner.gid)
        place.ssh.mkdir(mode=0o700)
        os.chown(place.ssh, job.owner.uid, job.owner.gid)
        register_guest(place.run, place.slug, place.path)
        if keep_script and job.script:
            text = job.script.read_bytes()
            write_file(place.script, text, mode=0o500, uid=job.owner.uid, gid=job.owner.gid)

    def _make_keys(self, job: Job) -> Keys:
        keys = Keys(host=make_key(f"guest of {job.id}"), owner=make_key(f"job {job.id}"))
        owner = {"mode": 0o400, "uid": job.owner.uid, "gid": job.owner.gid}
        pinned = f"{self.place.alias} {keys.host.public}\n".encode()
        write_file(self.place.key, keys.owner.private, **owner)
        write_file(self.place.known_hosts, pinned, **owner)
        return keys

    def _make_disks(self, plan: GuestPlan) -> dict[str, DiskFile]:
        files = {disk.target: self._make_disk(disk, plan.job.owner) for disk in plan.disks}
        for target in plan.discs:
            files[target] = DiskFile(path=self.place.disc, format="raw")
        return files

    def _make_disk(self, disk: DiskPlan, owner: Owner) -> DiskFile:
        path = self.place.disk(disk.target)
        if disk.image is None:
            create_empty(
                path,
                disk_format=disk.format,
                size=disk.size_mib << 20,
                uid=owner.uid,
                gid=owner.gid,
                deadline=self.deadline,
            )
            return DiskFile(path=path, format=disk.format)
        base = DiskFile(path=disk.image.path, format=disk.image.format)
        if disk.read_only:
            return base
        create_overlay(
            path,
            base=base.path,
            base_format=base.format,
            uid=owner.uid,
            gid=owner.gid,
            deadline=self.deadline,
        )
        # The chain is told to libvirt: the owner can write to the overlay's header, and libvirt,
        # as root, would follow it.
        return DiskFile(path=path, format="qcow2", backing=base)

    def _serve_shares(self, plan: GuestPlan) -> tuple[tuple[Share, ...], SmbServer | None]:
        if not plan.share_ways:
            return (), None
        shares = check_as_owner(plan.shares, plan.job.owner)
        if "smb" not in plan.share_ways or not shares:
            return shares, None
        server = start_smb(
            self.place.path,
            shares,
            owner=plan.job.owner,
            port=self._lease(),
            deadline=self.deadline,
            started=lambda pid, started: self.place.journal.intend(
                "processes", pid=pid, started=started
            ),
        )
        return shares, server

    def _write_disc(
        self,
        plan: GuestPlan,
        profile: Profile,
        keys: Keys,
        shares: tuple[Share, ...],
        server: SmbServer | None,
    ) -> None:
        job = plan.job
        mounts = (Mount(kinds=plan.share_ways, tag=share.tag, path=share.path) for share in shares)
        login = (
            SmbLogin(port=server.port, user=server.user, password=server.password)
            if server
            else None
        )
        context = GuestContext(
            job_id=job.id,
            hostname=plan.hostname,
            owner=job.owner,
            script_dir=plan.script_dir,
            mounts=tuple(mounts),
            smb=login,
            host_key=keys.host.private,
            host_key_public=keys.host.public,
            authorized_key=keys.owner.public,
            prolog=_read_script(profile.prolog),
            epilog=_read_script(profile.epilog),
        )
        files = bundle(context, read_guest_scripts(PACKAGE_ROOT / "scripts-vm"))
        write_disc(self.place.disc, files, uid=job.owner.uid, gid=job.owner.gid)

    def _lease(self) -> int:
        return lease_port(
            self.place.run / "ports",
            first=self.site.network.first_port,
            last=self.site.network.last_port,
            holder=self.place.slug,
            intend=lambda port: self.place.journal.intend("port", port=port),
        )

    def _render(
        self,
        plan: GuestPlan,
        profile: Profile,
        disks: Mapping[str, DiskFile],
        shares: tuple[Share, ...],
        port: int | None,
    ) -> str:
        owner = plan.job.owner
        with self.phases.step("accelerator"):
            chosen = accelerator(self.site, profile.accelerator, owner=owner)
            log.info("%s: accelerator %s: %s", plan.job.id, chosen.kind, chosen.reason)
        nine_p = shares if "9p" in plan.share_ways else ()
        return render(
            plan.template,
            DomainValues(
                name=plan.domain,
                uuid=plan.uuid,
                job_id=plan.job.id,
                owner_name=owner.name,
                uid=owner.uid,
                gid=owner.gid,
                deadline=(datetime.now(UTC) + timedelta(seconds=self.deadline.left())).isoformat(),
                memory_mib=plan.memory_mib,
                vcpus=plan.vcpus,
                accelerator=chosen.kind,
                disks=disks,
                kernel=plan.kernel,
                initrd=plan.initrd,
                cmdline=plan.cmdline,
                forwards=() if port is None else (forward_to(plan, port),),
                outbound=self.site.network.outbound,
                channel=self.place.channel,
                console_log=self.place.console,
                shares=tuple((share.tag, Path(share.source)) for share in nine_p),
            ),
        )

    def _announce(self, job: Job, host: str, port: int, *, keep_script: bool) -> None:
        place = self.place
        guest = {
            "state": "ready",
            "job": job.id,
            "host": host,
            "port": port,
            "user": LOGIN,
            "key": str(place.key),
            "known_hosts": str(place.known_hosts),
            "alias": place.alias,
            "script": str(job.script) if job.script else None,
            "script_copy": str(place.script) if keep_script and job.script else None,
            "enter": "/run/vmbatch/enter",
        }
        write_json(place.timings, self.phases.seconds, mode=0o644)
        write_json(place.guest, guest, mode=0o400, uid=job.owner.uid, gid=job.owner.gid)


def forward_to(plan: GuestPlan, port: int) -> Forward:
    """Return the way from a port of the node to the guest's ssh server."""
    return Forward(host_address=LOOPBACK, host_port=port, guest_port=plan.guest_port)


def record_of(plan: GuestPlan, profile: Profile) -> dict[str, object]:
    """Return what is kept of a job for those who list and clean up."""
    return {
        "id": plan.job.id,
        "system": plan.job.system,
        "owner": plan.job.owner.name,
        "uid": plan.job.owner.uid,
        "domain": plan.domain,
        "profile": plan.profile,
        "images": {disk.target: disk.image.name for disk in plan.disks if disk.image},
        "vcpus": plan.vcpus,
        "memory_mib": plan.memory_mib,
        "epilog": profile.epilog is not None,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _read_script(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise SiteError(
            f"can't read the site's script {path}: {error.strerror}",
            hint="correct prolog or epilog in the profile; see: vmbatch config check",
        ) from error
