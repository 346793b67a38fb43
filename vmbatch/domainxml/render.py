"""From a template and a plan's values to the XML that libvirt gets."""

from __future__ import annotations

import copy

from lxml import etree

from vmbatch.domainxml import devices, disks, identity, machine, network
from vmbatch.domainxml.identity import JobTag, read_metadata
from vmbatch.domainxml.model import Template
from vmbatch.domainxml.read import vb_elements
from vmbatch.domainxml.values import METADATA_URI, DiskFile, DomainValues, Forward, Step
from vmbatch.domainxml.xml import remove
from vmbatch.errors import SiteError

__all__ = [
    "METADATA_URI",
    "DiskFile",
    "DomainValues",
    "Forward",
    "JobTag",
    "read_metadata",
    "render",
]

STEPS: tuple[Step, ...] = (
    *identity.STEPS,
    *machine.STEPS,
    *disks.STEPS,
    *devices.STEPS,
    *network.STEPS,
)


def render(template: Template, values: DomainValues) -> str:
    """Return a domain's XML: the template without its tags, and with the values.

    What the administrator wrote is edited in place: other elements, comments and their order stay.
    The template is not changed.

    Raises:
        TemplateError: template and values do not fit.
        SiteError: a value can't stand in XML, or the job is root's.
    """
    tree = copy.deepcopy(template.tree)
    for element in list(vb_elements(tree)):
        remove(element)
    for step in STEPS:
        try:
            step.act(tree.getroot(), template, values)
        except ValueError as error:
            raise SiteError(
                f"{step.what} of the machine of job {values.job_id}: {error}",
                hint="control characters can't stand in names and paths; check the site file",
            ) from None
    # Comments before the root have no text between them that could hold the line's end.
    nodes = [*reversed(list(tree.getroot().itersiblings(preceding=True))), tree.getroot()]
    return "".join(etree.tostring(n, encoding="unicode", with_tail=False) + "\n" for n in nodes)
