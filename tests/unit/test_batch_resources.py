"""qsub's `-l`, line by line of what was observed of it."""

from __future__ import annotations

import pytest

from vmbatch.batch.local_resources import (
    Nodes,
    QsubError,
    format_time,
    parse_resources,
    parse_time,
    resource_list,
    walltime,
)

pytestmark = pytest.mark.unit

NO_PAIR = "qsub: Cannot find an attr=value pair in comma separated value '{}'"


@pytest.mark.parametrize(
    ("given", "other"),
    [
        ("other=vbuserimage=http://host/a.img", "vbuserimage=http://host/a.img"),
        ("other=vbuserimage:/path/img", "vbuserimage:/path/img"),
        (
            "other=vbuserimage=http://host:8080/a.img?x=1&y=2",
            "vbuserimage=http://host:8080/a.img?x=1&y=2",
        ),
        ('other="vbuserimage:/path/img"', "vbuserimage:/path/img"),
        ("other='vbuserimage:/path/img'", "vbuserimage:/path/img"),
        ('other="a=1,b=2"', "a=1,b=2"),
        ("other='a=1,b=2'", "a=1,b=2"),
        ('other="a=1,nodes=9,walltime=1"', "a=1,nodes=9,walltime=1"),
        ("other=a;b", "a;b"),
        ("other=vm:img=/a/b.img:cpus=2", "vm:img=/a/b.img:cpus=2"),
        ("other=a b", "a b"),
        ('other="a b"', "a b"),
        ('other=a"b', "b"),
        ("other=a'b", "b"),
        ('other="quo\'te"', "te"),
        ("other=a\nb", "a\nb"),
        ("other=$HOME/x", "$HOME/x"),
        ("other=%41é", "%41é"),
        ("other=a+b@c#d!e*f~g^h|i<j>k(l)m[n]", "a+b@c#d!e*f~g^h|i<j>k(l)m[n]"),
        ("other=one,other=two", "two"),
        ("other=" + "x" * 1500, "x" * 1500),
    ],
)
def test_what_a_script_sees_of_other(given: str, other: str) -> None:
    assert resource_list(parse_resources(given)) == (
        f"other={other},nodes=1,walltime=01:00:00,neednodes=1"
    )


@pytest.mark.parametrize(
    ("given", "status", "message"),
    [
        ("other=a=1,b=2", 189, "qsub: submit error (Unknown resource type  Resource_List.b)"),
        ("vbuserimage=a", 189, "qsub: submit error (Unknown resource type  Resource_List.vbus"),
        ("other=a\\,b", 1, NO_PAIR.format("b")),
        ('other={"img":"/a"}', 1, NO_PAIR.format(':"/a"}')),
        ("other", 1, NO_PAIR.format("other")),
        ("walltime=soon", 1, "qsub: illegal -l value 'soon': not a time"),
    ],
)
def test_what_qsub_rejects(given: str, status: int, message: str) -> None:
    with pytest.raises(QsubError) as caught:
        parse_resources(given)
    assert caught.value.status == status
    assert caught.value.message.startswith(message)


def test_order_defaults_and_neednodes() -> None:
    given = "nodes=1:ppn=2,walltime=600,mem=512mb,other=vbuserimage=http://host/a.img"
    assert resource_list(parse_resources(given)) == (
        "nodes=1:ppn=2,walltime=00:10:00,mem=512mb,other=vbuserimage=http://host/a.img,"
        "neednodes=1:ppn=2"
    )


@pytest.mark.parametrize(
    "name", ["software", "feature", "gattr", "image", "template", "var", "qos", "flags"]
)
def test_what_never_reaches_a_mom(name: str) -> None:
    assert resource_list(parse_resources(f"{name}=x")) == "nodes=1,walltime=01:00:00,neednodes=1"


def test_an_empty_value_is_no_value() -> None:
    assert "other" not in resource_list(parse_resources("other="))


def test_a_value_beyond_the_buffer_is_left_out_without_a_word() -> None:
    assert resource_list({"other": "x" * 3000}) == "nodes=1,walltime=01:00:00,neednodes=1"


@pytest.mark.parametrize(
    ("text", "seconds", "shown"),
    [("600", 600, "00:10:00"), ("1:2:3", 3723, "01:02:03"), ("1:0:0:1", 86401, "24:00:01")],
)
def test_times(text: str, seconds: int, shown: str) -> None:
    assert parse_time(text) == seconds
    assert format_time(seconds) == shown


@pytest.mark.parametrize(
    ("text", "nodes"),
    [("1", Nodes(1, 1)), ("3:ppn=2:vm", Nodes(3, 2)), ("vm:ppn=4", Nodes(1, 4))],
)
def test_nodes(text: str, nodes: Nodes) -> None:
    assert Nodes.parse(text) == nodes


def test_walltime_has_a_default() -> None:
    assert walltime({}) == 3600
    assert walltime({"walltime": "00:00:05"}) == 5
