"""Which jobs get a guest."""

import subprocess
import sys
from collections.abc import Iterable

import pytest

from vmbatch import policy

pytestmark = pytest.mark.unit


def rule(
    profile: str | None,
    *,
    queues: tuple[str, ...] = (),
    users: tuple[str, ...] = (),
    groups: tuple[str, ...] = (),
    asks: bool | None = None,
    allow: tuple[str, ...] = (),
) -> policy.Rule:
    return (queues, users, groups, asks, profile, allow)


class Lookup:
    """Groups that count how often they were looked up."""

    def __init__(self, *names: str) -> None:
        self.names, self.calls = names, 0

    def __call__(self) -> Iterable[str]:
        self.calls += 1
        return self.names


def decide(
    *rules: policy.Rule,
    queue: str = "batch",
    user: str = "alice",
    groups: Lookup | None = None,
    asks: bool = True,
    wanted: str | None = None,
) -> str | None:
    return policy.decide(
        rules,
        queue=queue,
        user=user,
        groups=groups or Lookup("users"),
        asks=asks,
        wanted_profile=wanted,
    )


def test_without_rules_those_that_ask_get_a_guest() -> None:
    assert decide() == "default"
    assert decide(asks=False) is None
    assert decide(wanted="big") == "big"


def test_first_match_wins() -> None:
    rules = (rule("a", queues=("x",)), rule(None, users=("alice",)), rule("c"))
    assert decide(*rules, queue="x") == "a"
    assert decide(*rules) is None
    assert decide(*rules, user="bob") == "c"


def test_all_conditions_must_hold() -> None:
    both = rule("a", queues=("x",), users=("bob",))
    assert decide(both, queue="x") == "default"
    assert decide(both, user="bob") == "default"
    assert decide(both, queue="x", user="bob") == "a"


@pytest.mark.parametrize(
    ("pattern", "name", "holds"),
    [
        ("batch", "batch", True),
        ("batch", "batch2", False),
        ("batch*", "batch2", True),
        ("batch*", "batch", True),
        ("*", "", True),
        ("b*h", "batch", False),
        ("batch", "", False),
    ],
)
def test_patterns(pattern: str, name: str, holds: bool) -> None:
    assert policy.matches(name, (pattern,)) is holds


def test_asks_is_a_condition() -> None:
    forced, bare = rule("vm", asks=False), rule(None, asks=True)
    assert decide(forced, asks=False) == "vm"
    assert decide(forced, asks=True) == "default"
    assert decide(bare, asks=True) is None


def test_groups_are_looked_up_once_and_only_where_a_rule_needs_them() -> None:
    lookup = Lookup("users", "hpc")
    assert decide(rule("a", users=("bob",), groups=("hpc",)), groups=lookup) == "default"
    assert lookup.calls == 0
    named = (rule("a", groups=("x",)), rule("b", groups=("hp*",)))
    assert decide(*named, groups=lookup) == "b"
    assert lookup.calls == 1


def test_a_rule_lets_a_job_choose_among_those_it_allows() -> None:
    choosing = rule("a", allow=("b", "c*"))
    assert decide(choosing, wanted="b") == "b"
    assert decide(choosing, wanted="c2") == "c2"
    assert decide(choosing, wanted="d") == "a"
    assert decide(rule(None, allow=("b",)), wanted="b") is None


@pytest.mark.parametrize(
    ("resources", "asking"),
    [
        ("", False),
        ("nodes=1:ppn=2,walltime=01:00:00", False),
        ("other=", False),
        ("other=vbuserimage=tiny,nodes=1", True),
        ("other=vbuserimage:tiny", True),
        ("other=vcpus=2", True),
        ("other=scratch=1,nodes=1", False),
        ("other=scratch:1+licence.a=2", False),
        ("other=scratch", False),
        ("other=scratchy=1", True),
        ("other=scratch=1+vbuserimage=tiny", True),
        ("other=scratch=1,other=vbuserimage=tiny", True),
        ("other=dir", True),
    ],
)
def test_who_asks(resources: str, asking: bool) -> None:
    assert policy.asks(resources, ("scratch", "licence*")) is asking


def test_nothing_is_imported_but_what_is_built_in() -> None:
    code = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1])\n"
        "import vmbatch.policy\n"
        "new = set(sys.modules) - before - {'vmbatch', 'vmbatch.policy'}\n"
        "print(sorted(new - set(sys.builtin_module_names)))"
    )
    root = policy.__file__.rpartition("/vmbatch/")[0]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, root], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
