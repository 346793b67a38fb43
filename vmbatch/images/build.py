"""Images made from Debian packages: `vmbatch image build RECIPE`."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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

    with _one_at_a_time(cache, say), _bench(cache) as bench:
        result = cook(Workshop(bench=bench, packages=Packages(cache), cache=cache, say=say))
        say("copying into the store")
        image = _keep(result, store, name or recipe, f"recipe {recipe}")
    say(f"image {image.name} is ready")
    return image


def _keep(result: Result, store: ImageStore, name: str, origin: str) -> Image:
    return store.add(
        result.disk,
        name,
        format="qcow2",
        kernel=result.kernel,
        initrd=result.initrd,
        cmdline=result.cmdline,
        description=result.description,
        origin=origin,
        shares=("9p", "smb"),
        ready="channel",
        replace=True,
    )


@contextmanager
def _bench(cache: Path) -> Iterator[Path]:
    """Make a directory to work in, where the caller's umask does not count."""
    bench = Path(tempfile.mkdtemp(prefix="build-", dir=cache))
    umask = os.umask(0o022)
    try:
        yield bench
    finally:
        os.umask(umask)
        shutil.rmtree(bench, ignore_errors=True)


@contextmanager
def _one_at_a_time(cache: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the cache: apt refuses to share its lists and archives."""
    with (cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another build")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
