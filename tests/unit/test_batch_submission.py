from __future__ import annotations

import pytest

from vmbatch.batch.local_resources import QsubError
from vmbatch.batch.local_submission import (
    Options,
    check_name,
    check_shell,
    parse_options,
    parse_variables,
    script_options,
)

pytestmark = pytest.mark.unit


def test_directives_before_the_first_command() -> None:
    script = b"#!/bin/sh\n# a comment\n\n#PBS -N name -q vm\n#PBS -l walltime=5\necho\n#PBS -N no\n"
    options = script_options(script, {})
    assert (options.name, options.queue) == ("name", "vm")
    assert options.resources == {"walltime": "00:00:05"}


def test_quotes_in_a_directive_go_before_it_is_read() -> None:
    assert script_options(b'#PBS -l other="a b"\n', {}).resources == {"other": "a b"}
    with pytest.raises(QsubError, match=r"Unknown resource type  Resource_List\.b") as caught:
        script_options(b'#PBS -l other="a=1,b=2"\n', {})
    assert caught.value.status == 189


def test_the_command_line_wins() -> None:
    line = parse_options(["-l", "other=cmd", "-N", "line"], {})
    both = line.over(script_options(b"#PBS -l other=dir,mem=1gb\n#PBS -N dir -A acct\n", {}))
    assert both.resources == {"other": "cmd", "mem": "1gb"}
    assert (both.name, both.account) == ("line", "acct")


def test_options_that_mean_nothing_here_are_passed_over() -> None:
    options = parse_options(["-m", "abe", "-V", "-M", "me@host", "-oout", "-N", "n"], {})
    assert options == Options(name="n")


def test_what_is_no_option_is_refused() -> None:
    with pytest.raises(QsubError) as caught:
        parse_options(["--vm-img", "x"], {})
    assert caught.value.status == 2


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=1,B=x=y", {"A": "1", "B": "x=y"}),
        ("A", {"A": "from here"}),
        ("A=cut,off", {"A": "cut", "off": ""}),
        ("m", {"m": ""}),
    ],
)
def test_variables(text: str, found: dict[str, str]) -> None:
    assert parse_variables(text, {"A": "from here"}) == found


@pytest.mark.parametrize("name", ["a/b", "a;b", "much-longer-than-sixteen"])
def test_names_that_qsub_takes(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["a b", "", "a\nb"])
def test_names_that_qsub_refuses(name: str) -> None:
    with pytest.raises(QsubError) as caught:
        check_name(name)
    assert caught.value.status == 2


@pytest.mark.parametrize("shell", ["bash", "/bin/sh -x"])
def test_shells_that_qsub_refuses(shell: str) -> None:
    with pytest.raises(QsubError) as caught:
        check_shell(shell)
    assert caught.value.status == 2
