"""From a template's file to a `Template`."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from vmbatch.domainxml.model import Template, build
from vmbatch.domainxml.read import Place, Tags
from vmbatch.domainxml.values import CHANNEL, METADATA_URI, QEMU_URI
from vmbatch.domainxml.xml import MAX_BYTES, Tree, is_element, parse_document
from vmbatch.errors import TemplateError


def parse_template(path: Path) -> Template:
    """Read and check a template.

    Raises:
        TemplateError: it can't be read, others may write to it, or it is not a template; with file
            and line.
    """
    return parse_template_text(_read(path), path)


def parse_template_text(data: bytes, path: Path) -> Template:
    """Check a template that was read from `path`.

    Raises:
        TemplateError: it is not a template; with file and line.
    """
    place = Place(str(path))
    tree = parse_document(data, place.file)
    root = tree.getroot()
    if root.tag != "domain":
        raise place.error(root, f"the root is <{root.tag}>", "a template is a libvirt <domain>")
    tags = Tags(tree, place)
    _check_reserved(tree, place)
    return build(tree, tags, path)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            _check_trust(path, os.fstat(file.fileno()))
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise TemplateError(
            f"{path}: the template can't be read: {error.strerror}",
            hint="check the template's path in the site file",
        ) from None


def _check_trust(path: Path, status: os.stat_result) -> None:
    # A template may name any file or program of the node: who can write it is root.
    if not stat.S_ISREG(status.st_mode):
        raise TemplateError(f"{path}: the template is not a file", hint="name a file")
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
        raise TemplateError(
            f"{path}: others than its owner, or a user, can write to the template "
            f"(uid {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o})",
            hint=f"run: chown root: {path} && chmod go-w {path}",
        )


def _check_reserved(tree: Tree, place: Place) -> None:
    """Refuse what only the renderer may say: whose machine it is, and how we talk to it."""
    commandlines = list(tree.getroot().iterchildren(f"{{{QEMU_URI}}}commandline"))
    if len(commandlines) > 1:
        raise place.error(
            commandlines[1], "a second <qemu:commandline>", "put the arguments into the first one"
        )
    for element in tree.iter():
        if not is_element(element):
            continue
        if element.tag == "seclabel":
            raise place.error(
                element,
                "a template can't have a <seclabel>",
                "remove it: a machine always runs with its owner's uid and gid",
            )
        if str(element.tag).startswith(f"{{{METADATA_URI}}}"):
            raise place.error(
                element, f"the namespace {METADATA_URI} is reserved", "use another namespace"
            )
    for target in tree.getroot().iterfind("devices/channel/target"):
        if target.get("name") == CHANNEL:
            raise place.error(target, f"the channel {CHANNEL} is reserved", "use another name")
