"""`vmbatch image`: words in, calls and tables out."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from vmbatch.cli import image as command
from vmbatch.errors import ImageError, SiteError
from vmbatch.images.store import ImageStore

pytestmark = pytest.mark.unit


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(command, "require_root", lambda name: None)
    return tmp_path / "images"


def call(root: Path, *words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["image", *words])
    status: int = arguments.run(arguments, SimpleNamespace(paths=SimpleNamespace(images=root)))
    return status


def disk(tmp_path: Path) -> str:
    path = tmp_path / "my.img"
    path.write_bytes(b"x" * 4096)
    return str(path)


def test_add_takes_all_properties(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "k").write_bytes(b"kernel")
    words = ["--name", "one", "--kernel", str(tmp_path / "k"), "--cmdline", "quiet"]
    words += ["--shares", "9p,smb", "--ready", "ssh", "--description", "mine", "--format", "raw"]
    assert call(root, "add", disk(tmp_path), *words) == 0
    image = ImageStore(root).get("one")
    assert (image.shares, image.ready, image.description) == (("9p", "smb"), "ssh", "mine")
    assert image.kernel is not None
    assert image.cmdline == "quiet"
    assert "9p, smb" in capsys.readouterr().out


def test_name_is_the_files_by_default(root: Path, tmp_path: Path) -> None:
    call(root, "add", disk(tmp_path))
    assert [image.name for image in ImageStore(root).list()] == ["my"]
    with pytest.raises(ImageError, match="already"):
        call(root, "add", disk(tmp_path))
    assert call(root, "add", disk(tmp_path), "--replace") == 0


def test_list_is_a_table_or_json(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(root, "list") == 0
    assert "vmbatch image build tiny" in capsys.readouterr().out
    call(root, "add", disk(tmp_path), "--description", "for tests")
    capsys.readouterr()
    call(root, "list")
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["NAME", "SIZE"]
    assert row.startswith("my    4.0 KiB")
    assert row.endswith("for tests")
    call(root, "list", "--json")
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["name"], told["virtual_size"], told["kernel"]) == ("my", 4096, None)


def test_show_and_delete(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(root, "add", disk(tmp_path))
    capsys.readouterr()
    call(root, "show", "my")
    assert f"digest        {ImageStore(root).get('my').digest}" in capsys.readouterr().out
    call(root, "show", "my", "--json")
    assert json.loads(capsys.readouterr().out)["path"].startswith(str(root))
    assert call(root, "delete", "my") == 0
    assert ImageStore(root).list() == ()
    with pytest.raises(ImageError, match="no image named 'my'"):
        call(root, "show", "my")


def test_changes_need_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    for words in (("build", "tiny"), ("add", disk(tmp_path)), ("delete", "my")):
        with pytest.raises(SiteError, match=f"vmbatch image {words[0]} needs root"):
            call(tmp_path / "images", *words)
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0.0 B"),
        (1023, "1023.0 B"),
        (1024, "1.0 KiB"),
        (5 << 30, "5.0 GiB"),
        (2 << 40, "2048.0 GiB"),
    ],
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert command._size(count) == text
