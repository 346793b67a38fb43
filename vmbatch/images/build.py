"""Images made from Debian packages: `vmbatch image build RECIPE`."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from vmbatch.errors import ImageError, NodeError
from vmbatch.images import debian12, tiny
from vmbatch.images.apt import Packages
from vmbatch.images.recipe import Result, Workshop
from vmbatch.images.store import Image, ImageStore

CACHE = Path("/var/cache/vmbatch")
RECIPES: Mapping[str, Callable[[Workshop], Result]] = {
    "tiny": tiny.cook,
    "debian12": debian12.cook,
}


def build(
    recipe: str,
    store: ImageStore,
    *,
    name: str | None = None,
    progress: Callable[[str], None],
    cache: Path = CACHE,
) -> Image:
    """Make an image and put it into the store; an image of that name is replaced.

    Args:
        recipe: a key of `RECIPES`.
        store: where it goes.
        name: what to call it; the recipe's own name if None.
        progress: told each step in a line.
        cache: a directory of root's where downloads are kept.

    Raises:
        ImageError: there is no such recipe.
        NodeError: packages can't be had, the disk is full, or this is not root.
    """
    cook = RECIPES.get(recipe)
    if cook is None:
        raise ImageError(
            f"there is no recipe named {recipe!r}", hint=f"recipes: {', '.join(RECIPES)}"
        )
    if os.geteuid() != 0:
        # The owners of the guest's files are set on the way.
        raise NodeError("only root can build an image", hint="run this as root")
    cache.mkdir(mode=0o755, parents=True, exist_ok=True)
    start = time.monotonic()

    def say(text: str) -> None:
        progress(f"{time.monotonic() - start:6.1f} s  {text}")

    bench = Path(tempfile.mkdtemp(prefix="build-", dir=cache))
    umask = os.umask(0o022)
    try:
        result = cook(Workshop(bench=bench, packages=Packages(cache), cache=cache, say=say))
        say("copying into the store")
        image = store.add(
            result.disk,
            name or recipe,
            format="qcow2",
            kernel=result.kernel,
            initrd=result.initrd,
            cmdline=result.cmdline,
            description=result.description,
            origin=f"recipe {recipe}",
            shares=("9p", "smb"),
            ready="channel",
            replace=True,
        )
    finally:
        os.umask(umask)
        shutil.rmtree(bench, ignore_errors=True)
    say(f"image {image.name} is ready")
    return image
