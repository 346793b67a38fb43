"""The header says what this process is, in words that any shell takes."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmbatch.errors import GuestError
from vmbatch.shell import header
from vmbatch.shell.call import SHELL, TASK, VISIT, WRAPPED, Call
from vmbatch.shell.guestfile import Guest

pytestmark = pytest.mark.unit

JOBDIR = tempfile.TemporaryDirectory()
VALUES = {
    "job": "17.vm",
    "host": "127.0.0.1",
    "port": 42001,
    "user": "alice",
    "key": f"{JOBDIR.name}/id_ed25519",
    "known_hosts": f"{JOBDIR.name}/known_hosts",
    "alias": "vmbatch-17.vm",
    "script": "/spool/17.vm.SC",
    "script_copy": "#!/bin/sh\n",
    "enter": "/run/vmbatch/enter",
}


def guest(**changes: Any) -> Guest:
    values = {**VALUES, **changes}
    if values["script_copy"] is not None:
        copy = Path(JOBDIR.name) / "script"
        copy.write_text(values["script_copy"])
        values["script_copy"] = str(copy)
    return Guest(values, JOBDIR.name)


def code(
    way: str, *words: bytes, environment: dict[bytes, bytes] | None = None, **more: Any
) -> bytes:
    call = Call(way=way, job="17.vm", words=list(words), run="/run/vmbatch")
    return header.build(call, guest(**more), environment or {}).code


@given(st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\0", b"")), max_size=4))
def test_quoted_words_survive_the_shell(words: list[bytes]) -> None:
    script = b"printf '%s\\0' x " + b" ".join(header.quote(word) for word in words)
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True)
    assert done.stdout == b"".join(word + b"\0" for word in [b"x", *words])


def test_login_shell_is_told_so() -> None:
    text = code(SHELL, b"/bin/bash")
    assert b"\ntake_script '/spool/17.vm.SC'\n" in text
    assert b"\nchoose_shell '/bin/bash'\n" in text
    assert text.endswith(b'exec env -i --  "$shell" -l'.replace(b"  ", b" "))


def test_odd_shell_gets_no_option() -> None:
    assert code(SHELL, b"/usr/bin/perl").endswith(b'"$shell"')


def test_interactive_job_has_no_script() -> None:
    assert b"take_script" not in code(SHELL, b"/bin/bash", script=None)


def test_task() -> None:
    text = code(TASK, b"bash", b"-c", b"echo 'x'")
    assert b"take_script" not in text
    assert text.endswith(rb"env -i -- 'bash' '-c' 'echo '\''x'\'''")


def test_task_with_an_equals_sign_is_no_variable() -> None:
    assert code(TASK, b"a=b").endswith(b"sh -c 'exec \"$@\"' sh 'a=b'")


def test_wrapped_script_is_run_as_the_kernel_or_a_shell_would() -> None:
    environment = {b"SHELL": b"/bin/ksh"}
    direct = code(WRAPPED, b"one", environment=environment)
    assert direct.endswith(b"'/spool/17.vm.SC' 'one'")
    assert b"choose_shell" not in direct
    read = code(WRAPPED, b"one", environment=environment, script_copy="echo\n")
    assert b"\nchoose_shell '/bin/ksh'\n" in read
    assert read.endswith(b"\"$shell\" '/spool/17.vm.SC' 'one'")


def test_visitor_takes_little_along() -> None:
    text = code(VISIT, b"id", environment={b"HOME": b"/root", b"TERM": b"xterm", b"LC_ALL": b"C"})
    assert b"/root" not in text
    assert b"'TERM=xterm' 'LC_ALL=C' 'PBS_JOBID=17.vm' 'id'" in text


def test_variables_of_the_login_stay() -> None:
    text = code(TASK, b"id", environment={b"SSH_AUTH_SOCK": b"/s", b"SSH_MINE": b"1", b"A": b"2"})
    assert b"SSH_AUTH_SOCK" not in text
    assert b"'SSH_MINE=1' 'A=2'" in text


def test_node_file_travels(tmp_path: Path) -> None:
    path = tmp_path / "nodes"
    path.write_text("vm2\n")
    text = code(TASK, b"id", environment={b"PBS_NODEFILE": os.fsencode(path)})
    assert b"place PBS_NODEFILE '%s' 'vm2\n'" % os.fsencode(path) in text
    assert b'"PBS_NODEFILE=$placed_PBS_NODEFILE"' in text


@pytest.mark.parametrize("value", [b"relative", b"/no/such", b"/", b"/dev/zero", b""])
def test_node_file_that_can_not_travel(value: bytes) -> None:
    text = code(TASK, b"id", environment={b"PBS_NODEFILE": value})
    assert b"'PBS_NODEFILE=" + value + b"'" in text


def test_script_that_can_not_be_read() -> None:
    with pytest.raises(GuestError, match="can't be read: No such file"):
        code(SHELL, b"/bin/bash", script="/no/such", script_copy=None)
