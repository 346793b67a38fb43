from __future__ import annotations

from pathlib import Path

import pytest

from vmbatch.console import last_lines

pytestmark = pytest.mark.unit


def test_the_tail_is_plain_text(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"one\r\n\x1b[1;31mpanic\x1b[0m: no init\x07\n\n\xff\n")
    assert last_lines(log) == ("one", "panic: no init", "�")


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_text("".join(f"line {number}\n" for number in range(100_000)))
    assert last_lines(log, 2) == ("line 99998", "line 99999")


def test_no_log_is_no_lines(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "none") == ()
