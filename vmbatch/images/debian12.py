"""The recipe `debian12`."""

from __future__ import annotations

from vmbatch.images.recipe import Result, Workshop


def cook(shop: Workshop) -> Result:
    """Make the image."""
    raise NotImplementedError
