from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmbatch.context import conf
from vmbatch.errors import SiteError

pytestmark = pytest.mark.unit

SETUP = Path(__file__).parents[2] / "scripts-vm" / "setup.sh"
SHELLS = [["sh"], ["bash", "--posix"], ["busybox", "sh"]]
VALUES = st.binary(max_size=40).filter(lambda data: b"\0" not in data and b"\n" not in data)
PATHS = st.binary(max_size=20).filter(lambda data: b"\0" not in data)
SLOW = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def run_shell(shell: list[str], script: str) -> bytes:
    return subprocess.run([*shell, "-c", script], check=True, capture_output=True).stdout


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@given(values=st.lists(VALUES, min_size=1, max_size=8))
@SLOW
def test_every_shell_reads_back_what_was_written(
    tmp_path: Path, shell: list[str], values: list[bytes]
) -> None:
    table = {f"VB_{number}": os.fsdecode(value) for number, value in enumerate(values)}
    path = tmp_path / "guest.conf"
    path.write_bytes(conf.assignments(table))
    names = " ".join(f'"$VB_{number}"' for number in range(len(values)))
    out = run_shell(shell, f". {shlex.quote(str(path))}; printf '%s\\n' {names}")
    assert out.split(b"\n")[:-1] == values


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@given(paths=st.lists(PATHS, min_size=1, max_size=6))
@SLOW
def test_every_shell_decodes_the_words_of_a_list(shell: list[str], paths: list[bytes]) -> None:
    text = conf.words(f"tag:{conf.encode(os.fsdecode(path))}" for path in paths)
    assert len(text.split()) == len(paths)
    source = SETUP.read_text()
    start = source.index("decode() {")
    decode = source[start : source.index("\n}\n", start) + 3]
    listed = shlex.quote(text)
    script = (
        f"set -u; LC_ALL=C; {decode}\nlist={listed}\n"
        'for word in $list; do decode "${word#*:}"; printf "%s\\000" "$decoded"; done'
    )
    out = subprocess.run(
        [*shell, "-c", os.fsencode(script)], check=True, capture_output=True
    ).stdout
    assert out.split(b"\0")[:-1] == paths


def test_no_word_is_a_pattern_to_a_shell() -> None:
    assert conf.encode("/a/*?[x]\\~$`'\"é") == "/a/%2A%3F%5Bx%5D%5C~%24%60%27%22%C3%A9"


@pytest.mark.parametrize("value", ["a\nb", "a\0b", "\n"])
def test_line_breaks_and_nul_are_refused(value: str) -> None:
    with pytest.raises(SiteError, match="VB_HOME"):
        conf.assignments({"VB_HOME": value})
