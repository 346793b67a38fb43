"""Templates and values that the tests of the domain XML share."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from vmbatch.domainxml.model import Template
from vmbatch.domainxml.parse import parse_template, parse_template_text
from vmbatch.domainxml.render import DiskFile, DomainValues, Forward

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
LINUX = ROOT / "templates-vm" / "linux.xml"
JOB = Path("/var/lib/vmbatch/jobs/17.vm")

DISC = "<disk><vbpreparecdrom/><target dev='vdz' bus='virtio'/></disk>"

# With what sites wrote: bare tags, own devices, own words to QEMU.
RICH = """\
<domain type='xen' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'
        xmlns:site='http://site.example/ns'>
  <name>template</name>
  <!-- first -->
  <vbconfig><!-- ours --><vbpreparemethod> CDROM </vbpreparemethod></vbconfig>
  <metadata><site:note>kept &amp; quoted</site:note></metadata>
  <memory unit='GiB'>2</memory>
  <currentMemory unit='GiB'>1</currentMemory>
  <vcpu placement='static' current='1'>4</vcpu>
  <cpu mode='host-passthrough' migratable='on'>
    <topology sockets='2' cores='2' threads='1'/>
    <feature policy='require' name='avx2'/>
  </cpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <cmdline>site=1</cmdline>
  </os>
  <on_reboot>restart</on_reboot>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='block' device='disk'>
      <driver name='tap2' type='aio' cache='none'/>
      <vbdisksource source='http://images.example/boot.img' copy_method='shared'/>
      <vbuserimage>bootimage</vbuserimage>
      <source dev='/dev/sdz'/>
      <target dev='vdb' bus='virtio'/>
      <!-- after the target -->
    </disk>
    <disk type='file' device='disk'>
      <vbdisksource source='cache' size='20480' create='once' format='vhd-util-vhd'/>
      <source file='/srv/cache.vhd'/>
      <target dev='vdc' bus='virtio'/>
    </disk>
    <disk type='file' device='cdrom'>
      <vbpreparecdrom source='context.iso'/>
      <source file='/srv/context.iso'/>
      <target dev='sda' bus='scsi'/>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='/srv/data.img'/>
      <target dev='vdx' bus='virtio'/>
      <readonly/>
    </disk>
    <controller type='scsi' model='virtio-scsi'/>
    <serial type='file'><source path='/srv/log'/><target port='0'/></serial>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <rng model='virtio'><backend model='random'>/dev/random</backend></rng>
    <input type='tablet' bus='usb'/>
    <memballoon model='virtio'/>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-no-hpet'/>
  </qemu:commandline>
</domain>
"""


def template_of(text: str, name: str = "t.xml") -> Template:
    return parse_template_text(text.encode(), Path(name))


def domain(devices: str = DISC, top: str = "") -> str:
    """A small template: `top` is in line 2, `devices` in line 4."""
    return f"<domain>\n{top}\n<devices>\n{devices}\n</devices>\n</domain>"


def linux() -> Template:
    return parse_template(LINUX)


def values_for(template: Template, **changes: Any) -> DomainValues:
    base = Path("/var/lib/vmbatch/images/base")
    files = {
        disk.target: DiskFile(path=JOB / "context.iso", format="raw")
        if disk.context_disc
        else DiskFile(
            path=JOB / f"disk-{disk.target}.qcow2",
            format="qcow2",
            backing=DiskFile(path=base, format="raw"),
        )
        for disk in template.disks
        if disk.managed
    }
    values = DomainValues(
        name="vmbatch-17.vm",
        uuid="6f0f3a5e-9d0c-4b5c-8f43-0a8c9b0c7d11",
        job_id="17.vm",
        owner_name="alice",
        uid=1001,
        gid=1002,
        deadline="2026-01-02T03:04:05Z",
        memory_mib=512,
        vcpus=2,
        accelerator="tcg",
        disks=files,
        kernel=Path("/var/lib/vmbatch/images/vmlinuz"),
        initrd=Path("/var/lib/vmbatch/images/initrd"),
        cmdline="root=/dev/vda console=ttyS0",
        forwards=(Forward(host_address="127.0.0.1", host_port=42001, guest_port=22),),
        channel=JOB / "agent.sock",
        console_log=JOB / "console.log",
        shares=(("home", Path("/home/alice")),),
    )
    return dataclasses.replace(values, **changes)
