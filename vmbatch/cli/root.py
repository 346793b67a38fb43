"""Commands that only root can run."""

from __future__ import annotations

import os

from vmbatch.errors import SiteError


def require_root(command: str) -> None:
    """Refuse to go on as an ordinary user.

    Raises:
        SiteError: this is not root.
    """
    if os.geteuid() != 0:
        raise SiteError(f"{command} needs root", hint=f"run: sudo {command}")
