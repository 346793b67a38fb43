"""What the store keeps of an image: one JSON file a name."""

from __future__ import annotations

import json
import os
import re
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vmbatch.errors import ImageError
from vmbatch.files import sync_directory
from vmbatch.images.diskspace import named_if_full
from vmbatch.images.inspection import FORMATS

SHARE_WAYS = ("9p", "smb")
READY_WAYS = ("channel", "ssh", "auto")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """An image without its name and its paths; `disk`, `kernel` and `initrd` are digests."""

    disk: str
    format: str
    virtual_size: int
    kernel: str | None
    initrd: str | None
    cmdline: str | None
    shares: tuple[str, ...]
    created: str
    origin: str
    description: str
    ready: str

    def digests(self) -> set[str]:
        """The blobs that the image needs."""
        return {digest for digest in (self.disk, self.kernel, self.initrd) if digest}


def read_record(names: Path, name: str) -> Record | None:
    """Read an image's record, or return None where there is none.

    Raises:
        ImageError: the file is damaged.
    """
    path = names / f"{name}.json"
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        values = json.loads(text)
        record = Record(**{**values, "shares": tuple(values["shares"])})
        _check(record)
    except (ValueError, TypeError, KeyError) as error:
        raise ImageError(
            f"the record of image {name!r} is damaged ({path}: {error})",
            hint=f"remove {path} and add the image again",
        ) from error
    return record


def write_record(names: Path, name: str, record: Record) -> None:
    """Write an image's record: readers see the old one or the new one, whole."""
    draft = names / f".{name}.{secrets.token_hex(4)}"
    text = json.dumps(asdict(record), indent=1).encode() + b"\n"
    try:
        with named_if_full("the record of the image", draft):
            _write_synced(draft, text)
            draft.rename(names / f"{name}.json")
            sync_directory(names)
    finally:
        draft.unlink(missing_ok=True)


def _write_synced(path: Path, text: bytes) -> None:
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(text)
        file.flush()
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())


def _check(record: Record) -> None:
    """Raise ValueError where a value can't be: a digest becomes a part of a path."""
    digests: dict[str, Any] = {"disk": record.disk}
    digests |= {"kernel": record.kernel} if record.kernel is not None else {}
    digests |= {"initrd": record.initrd} if record.initrd is not None else {}
    for key, value in digests.items():
        if not isinstance(value, str) or not _DIGEST.fullmatch(value):
            raise ValueError(f"{key} is no SHA-256 digest")
    if record.format not in FORMATS or not isinstance(record.virtual_size, int):
        raise ValueError("format or virtual_size can't be so")
