from __future__ import annotations

import json
from pathlib import Path

import pytest

from vmbatch.journal import Journal

pytestmark = pytest.mark.unit


def test_undos_come_backwards(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.intend("port", port=1)
    journal.intend("domain", name="a", uid=7)

    undos = journal.backwards()

    assert [undo.kind for undo in undos] == ["domain", "port"]
    assert undos[0].text("name") == "a"
    assert undos[0].number("uid") == 7


def test_a_record_is_on_disk_when_intend_returns(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.intend("port", port=42)
    assert json.loads((tmp_path / "journal").read_text()) == {"undo": "port", "port": 42}
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o600


def test_a_torn_last_line_had_no_act(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.intend("port", port=1)
    with (tmp_path / "journal").open("a") as stream:
        stream.write('{"undo":"doma')
    assert [undo.kind for undo in journal.backwards()] == ["port"]


def test_no_journal_is_no_undo(tmp_path: Path) -> None:
    assert Journal(tmp_path / "none").backwards() == ()


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("")
    (tmp_path / "journal").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic"):
        Journal(tmp_path / "journal").intend("port", port=1)
    assert (tmp_path / "victim").read_text() == ""
