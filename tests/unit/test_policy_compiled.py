"""The compiled copy of the site file: true to it, never stale, never somebody else's."""

import marshal
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vmbatch import policy
from vmbatch.config import compile_site, load_site, refresh_policy
from vmbatch.errors import ConfigError

pytestmark = pytest.mark.unit

TEXT = """\
paths: {run: /scratch/run}
request: {ignore: [scratch]}
rules: [{queue: x, group: [a, b*], asks: true, profile: none}, {profile: default, allow: d*}]
"""


@pytest.fixture
def site_file(tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(TEXT)
    path.chmod(0o644)
    return path


def read(site_file: Path) -> policy.Compiled | None:
    directory = policy.cache_dir(str(site_file))
    return policy.read_compiled(directory, str(site_file), owner=os.getuid())


def test_what_was_written_is_read(site_file: Path) -> None:
    written = refresh_policy(str(site_file))
    found = read(site_file)
    assert found is not None
    for name in policy.Compiled.__slots__:
        assert getattr(found, name) == getattr(written, name)
    assert found.rules == (
        (("x",), (), ("a", "b*"), True, None, ()),
        ((), (), (), None, "default", ("d*",)),
    )
    assert (found.run, found.ignore) == ("/scratch/run", ("scratch",))
    cache = site_file.parent / "policy"
    assert cache.stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in site_file.parent.iterdir()) == ["policy", "site.yaml"]


def test_absent_is_none(site_file: Path) -> None:
    assert read(site_file) is None


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def grow(path: Path) -> None:
    path.write_text(path.read_text() + "\n")


def replace(path: Path) -> None:
    """Same content, size and times of change, another inode."""
    old = path.stat()
    other = path.with_name("other")
    other.write_text(TEXT)
    os.utime(other, ns=(old.st_atime_ns, old.st_mtime_ns))
    other.rename(path)


def open_up(path: Path) -> None:
    path.chmod(0o666)


@pytest.mark.parametrize("change", [touch, grow, replace, open_up, Path.unlink])
def test_stale_once_the_site_file_changes(site_file: Path, change: Callable[[Path], None]) -> None:
    refresh_policy(str(site_file))
    assert read(site_file) is not None
    change(site_file)
    assert read(site_file) is None


def test_of_another_site_file_is_none(site_file: Path) -> None:
    refresh_policy(str(site_file))
    other = site_file.with_name("b.yaml")
    other.write_text(TEXT)
    assert read(other) is None


def test_of_another_version_is_none(site_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh_policy(str(site_file))
    monkeypatch.setattr(policy, "__version__", "0.0.0")
    assert read(site_file) is None


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_writable_by_others_is_none(site_file: Path, mode: int) -> None:
    refresh_policy(str(site_file))
    (site_file.parent / "policy").chmod(mode)
    assert read(site_file) is None


def test_of_another_owner_is_none(site_file: Path) -> None:
    refresh_policy(str(site_file))
    directory = str(site_file.parent)
    assert policy.read_compiled(directory, str(site_file), owner=os.getuid() + 1) is None


def test_a_link_is_none(site_file: Path) -> None:
    refresh_policy(str(site_file))
    cache = site_file.parent / "policy"
    cache.rename(site_file.parent / "elsewhere")
    cache.symlink_to("elsewhere")
    assert read(site_file) is None


def bare(data: bytes) -> bytes:
    return data


def stamped(data: bytes) -> bytes:
    return policy._stamp() + data + policy._stamp()


@pytest.mark.parametrize(
    ("data", "wrap"),
    [
        (b"", bare),
        (b"[" * 100, bare),  # marshal would take it for a list of 1.5 milliard entries
        (b"", stamped),
        (b"nonsense", stamped),
        (b"i\x01\x00\x00\x00", stamped),
        (marshal.dumps(("too", "many", "values")), stamped),
    ],
)
def test_rubbish_is_none(site_file: Path, data: bytes, wrap: Callable[[bytes], bytes]) -> None:
    cache = site_file.parent / "policy"
    cache.write_bytes(wrap(data))
    cache.chmod(0o644)
    assert read(site_file) is None


def test_every_cut_is_none(site_file: Path) -> None:
    refresh_policy(str(site_file))
    cache = site_file.parent / "policy"
    data = cache.read_bytes()
    for length in range(len(data)):
        cache.write_bytes(data[:length])
        assert read(site_file) is None


def test_a_directory_in_its_place_is_none(site_file: Path) -> None:
    (site_file.parent / "policy").mkdir(mode=0o755)
    assert read(site_file) is None


def test_left_over_temporary_files_do_not_matter(site_file: Path) -> None:
    (site_file.parent / f".policy.{os.getpid()}").symlink_to("/nonexistent/target")
    refresh_policy(str(site_file))
    assert read(site_file) is not None


def test_the_directory_is_made_and_open_to_readers(site_file: Path) -> None:
    run = site_file.parent / "run"
    before = os.umask(0o077)
    try:
        policy.write_compiled(str(run), compile_site(load_site(site_file)))
    finally:
        os.umask(before)
    assert run.stat().st_mode & 0o777 == 0o755
    assert (run / "policy").stat().st_mode & 0o777 == 0o644


def test_a_site_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no site file"):
        refresh_policy(str(tmp_path / "none.yaml"))
    assert list(tmp_path.iterdir()) == []


def test_where_the_copy_is() -> None:
    assert policy.cache_dir(policy.DEFAULT_SITE_FILE) == "/run/vmbatch"
    assert policy.cache_dir("/a/b.yaml") == "/a"
    assert policy.cache_dir("/b.yaml") == "/"
    assert policy.site_file({}) == policy.DEFAULT_SITE_FILE
    assert policy.site_file({"VMBATCH_CONFIG": "/a/b.yaml"}) == "/a/b.yaml"
