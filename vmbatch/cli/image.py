"""`vmbatch image`: make, add, show and remove the images that guests start from."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vmbatch.cli.root import require_root
from vmbatch.config import Site
from vmbatch.images.build import RECIPES, build
from vmbatch.images.store import Image, ImageStore


def add_parser(subparsers: Any) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "image",
        help="make, add, show and remove images",
        description="The images of this node. Guests write to overlays, never to an image.",
    )
    commands = parser.add_subparsers(dest="image_command", metavar="COMMAND", required=True)
    _add_build(commands)
    _add_add(commands)
    _add_queries(commands)


def _add_build(commands: Any) -> None:
    parser = commands.add_parser(
        "build",
        help="make an image from Debian packages",
        description="Makes an image from Debian packages; one of the same name is replaced.",
    )
    parser.add_argument("recipe", choices=tuple(RECIPES), help="what to make")
    parser.add_argument("--name", help="what to call the image (default: as the recipe)")
    parser.set_defaults(run=_build)


def _add_add(commands: Any) -> None:
    parser = commands.add_parser(
        "add",
        help="add a disk file",
        description="Copies a whole disk file (qcow2 or raw) into the store.",
    )
    parser.add_argument("file", type=Path, help="the disk")
    parser.add_argument("--name", help="what to call it (default: the file's name without suffix)")
    parser.add_argument("--format", choices=("qcow2", "raw"), help="the format it must have")
    parser.add_argument("--description", default="", help="one line for people")
    parser.add_argument("--origin", default="", help="where it came from (default: the path)")
    parser.add_argument("--kernel", type=Path, help="kernel to start it with, outside the disk")
    parser.add_argument("--initrd", type=Path, help="initial RAM disk for that kernel")
    parser.add_argument("--cmdline", help="command line for that kernel")
    parser.add_argument(
        "--shares",
        default="",
        metavar="WAYS",
        help="how its kernel can mount the owner's directories: 9p, smb or 9p,smb"
        " (default: not known)",
    )
    parser.add_argument(
        "--ready",
        choices=("auto", "channel", "ssh"),
        default="auto",
        help="how a guest tells that it is up",
    )
    parser.add_argument("--replace", action="store_true", help="replace an image of that name")
    parser.set_defaults(run=_add)


def _add_queries(commands: Any) -> None:
    listing = commands.add_parser("list", help="list the images")
    listing.set_defaults(run=_list)
    show = commands.add_parser("show", help="show all that is known of an image")
    show.add_argument("name")
    show.set_defaults(run=_show)
    delete = commands.add_parser(
        "delete",
        help="remove images",
        description="Removes images. Guests that run keep theirs to their end.",
    )
    delete.add_argument("name", nargs="+")
    delete.set_defaults(run=_delete)
    for parser in (listing, show):
        parser.add_argument("--json", action="store_true", help="print JSON")


def _store(site: Site) -> ImageStore:
    return ImageStore(site.paths.images)


def _build(arguments: argparse.Namespace, site: Site) -> int:
    require_root("vmbatch image build")
    image = build(
        arguments.recipe,
        _store(site),
        name=arguments.name,
        progress=lambda line: print(line, flush=True),
    )
    _print_details(image)
    return 0


def _add(arguments: argparse.Namespace, site: Site) -> int:
    require_root("vmbatch image add")
    image = _store(site).add(
        arguments.file,
        arguments.name or arguments.file.stem,
        format=arguments.format,
        description=arguments.description,
        origin=arguments.origin,
        kernel=arguments.kernel,
        initrd=arguments.initrd,
        cmdline=arguments.cmdline,
        shares=tuple(filter(None, arguments.shares.split(","))),
        ready=arguments.ready,
        replace=arguments.replace,
    )
    _print_details(image)
    return 0


def _list(arguments: argparse.Namespace, site: Site) -> int:
    images = _store(site).list()
    if arguments.json:
        print(json.dumps([_plain(image) for image in images], indent=1))
        return 0
    if not images:
        print("there is no image yet: vmbatch image build tiny")
        return 0
    rows = [("NAME", "SIZE", "ON DISK", "CREATED", "DESCRIPTION")]
    rows += [
        (
            image.name,
            _size(image.virtual_size),
            _size(_disk_bytes(image)),
            image.created[:10],
            image.description,
        )
        for image in images
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    return 0


def _show(arguments: argparse.Namespace, site: Site) -> int:
    image = _store(site).get(arguments.name)
    if arguments.json:
        print(json.dumps(_plain(image), indent=1))
    else:
        _print_details(image)
    return 0


def _delete(arguments: argparse.Namespace, site: Site) -> int:
    require_root("vmbatch image delete")
    for name in arguments.name:
        _store(site).delete(name)
        print(f"removed: image {name}")
    return 0


def _plain(image: Image) -> dict[str, Any]:
    values = asdict(image)
    return {key: str(item) if isinstance(item, Path) else item for key, item in values.items()}


def _print_details(image: Image) -> None:
    values = _plain(image) | {
        "virtual_size": f"{image.virtual_size} ({_size(image.virtual_size)})",
        "shares": ", ".join(image.shares) or "not known",
    }
    for key, value in values.items():
        print(f"{key.replace('_', ' '):13} {'-' if value in (None, '') else value}")


def _disk_bytes(image: Image) -> int:
    files = [path for path in (image.path, image.kernel, image.initrd) if path and path.exists()]
    return sum(path.stat().st_blocks * 512 for path in files)


def _size(count: int) -> str:
    """Return a number of bytes for people.

    >>> _size(4 << 30)
    '4.0 GiB'
    """
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
