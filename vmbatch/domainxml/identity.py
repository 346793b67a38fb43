"""Whose machine it is: name, metadata, and the uid that QEMU runs with."""

from __future__ import annotations

from dataclasses import dataclass

from lxml import etree

from vmbatch.domainxml.model import Template
from vmbatch.domainxml.values import METADATA_URI, DomainValues, Step
from vmbatch.domainxml.xml import Element, add, append, ensure, parse_document, set_text
from vmbatch.errors import SiteError, TemplateError

_JOB = f"{{{METADATA_URI}}}job"


@dataclass(frozen=True, kw_only=True, slots=True)
class JobTag:
    """What a domain's metadata says about its job.

    Args:
        job_id: the batch system's id.
        owner_name: login name of the owner.
        uid: the owner's user id.
        deadline: ISO 8601 time at which the job is over at the latest; may be empty.
    """

    job_id: str
    owner_name: str
    uid: int
    deadline: str


def read_metadata(xml: str) -> JobTag | None:
    """Return what a domain's XML, as libvirt gives it, says about its job.

    Returns:
        None if the domain is not ours.
    """
    try:
        tree = parse_document(xml.encode(), "domain")
    except TemplateError:
        return None
    job = tree.getroot().find(f"metadata/{_JOB}")
    if job is None or not job.get("id") or not job.get("uid", "").isdecimal():
        return None
    return JobTag(
        job_id=job.get("id", ""),
        owner_name=job.get("owner", ""),
        uid=int(job.get("uid", "")),
        deadline=job.get("deadline", ""),
    )


def _name(root: Element, _: Template, values: DomainValues) -> None:
    set_text(root, "name", values.name)
    set_text(root, "uuid", values.uuid)


def _metadata(root: Element, _: Template, values: DomainValues) -> None:
    job = etree.Element(
        _JOB,
        {
            "id": values.job_id,
            "owner": values.owner_name,
            "uid": str(values.uid),
            "deadline": values.deadline,
        },
        nsmap={"vmbatch": METADATA_URI},
    )
    append(ensure(root, "metadata"), job)


def _owner(root: Element, _: Template, values: DomainValues) -> None:
    if values.uid < 1 or values.gid < 0:
        raise SiteError(
            f"a machine can't run as uid {values.uid} (job {values.job_id})",
            hint="only jobs of ordinary users get a machine",
        )
    # relabel='no': otherwise libvirt gives kernel and images to the owner while the guest runs.
    label = add(root, "seclabel", type="static", model="dac", relabel="no")
    add(label, "label", f"+{values.uid}:+{values.gid}")


STEPS = (
    Step(what="`<name>`, `<uuid>`", rule="Always those of the job's domain.", act=_name),
    Step(
        what="`<metadata>`",
        rule=f"A child in the namespace `{METADATA_URI}` with job, owner, uid and deadline is "
        "added; other metadata stay. The namespace is reserved: a template that uses it is "
        "refused.",
        act=_metadata,
    ),
    Step(
        what="`<seclabel>`",
        rule="Always the uid and gid of the job's owner, without relabelling. A template with a "
        "`<seclabel>` anywhere is refused.",
        act=_owner,
    ),
)
