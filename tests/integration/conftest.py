"""The node, the user and the images of the integration tests."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from testbed import ROOT, USER, Testbed, make_user, start, stop

from vmbatch.images.build import build
from vmbatch.images.store import ImageStore

CACHE = Path("/var/cache/vmbatch/tests")


@pytest.fixture(scope="session")
def user() -> Iterator[str]:
    subprocess.run(["userdel", "-r", USER], check=False, capture_output=True)
    yield from make_user(USER)


@pytest.fixture(scope="session")
def images() -> Path:
    """A store with the images of the present recipes, kept from run to run."""
    sources = sorted((ROOT / "vmbatch" / "images").rglob("*"))
    digest = hashlib.sha256()
    for path in sources:
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(path.name.encode() + path.read_bytes())
    store = CACHE / digest.hexdigest()[:16]
    store.mkdir(parents=True, exist_ok=True)
    with (store / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _ensure(store, "tiny")
    _forget_old_stores()
    return store


@pytest.fixture(scope="session")
def debian12(images: Path) -> Path:
    """The same store, with the image that takes longer to build."""
    with (images / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _ensure(images, "debian12")
    return images


def _forget_old_stores() -> None:
    """Remove the images of recipes that nobody has tested for a day."""
    for lock in CACHE.glob("*/.lock"):
        if time.time() - lock.stat().st_mtime > 86400:
            shutil.rmtree(lock.parent)


def _ensure(store: Path, name: str) -> None:
    if name not in {image.name for image in ImageStore(store).list()}:
        build(name, ImageStore(store), progress=print)


@pytest.fixture(scope="session")
def bed(user: str, images: Path) -> Iterator[Testbed]:
    base = Path(tempfile.mkdtemp(prefix="vmbatch-bed-"))
    testbed = start(base, images)
    try:
        yield testbed
    finally:
        stop(testbed)
        shutil.rmtree(base)


@pytest.fixture
def node(bed: Testbed) -> Iterator[Testbed]:
    """The node with a default site file; nothing may be left on it after the test."""
    bed.configure()
    yield bed
    assert bed.leftovers() == []
