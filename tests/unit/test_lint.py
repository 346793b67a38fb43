"""The linters, as tests: what they refuse is not merged."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv" / "bin"
CODE = ("vmbatch", "tests", "benchmarks")
TREES = (*CODE, "scripts", "scripts-vm", "templates-vm", "examples", "contrib", "docs", "man")
SINGLE = ("setup.sh", ".ci/run", "README.md", "pyproject.toml")
MOST_LINES = 500

# Each is written so that it does not match itself.
FORBIDDEN = {
    r"StrictHostKeyChecking[ =]+no\b": "host keys are known and pinned",
    r"AutoAdd[P]olicy": "host keys are known and pinned",
    r"\bshell[=]True": "programs are started from argv lists",
    r"\bos[.]system\(": "programs are started by vmbatch.process",
    r"\b(TOD[O]|FIXM[E]|XX[X])\b": "what is open belongs into an issue",
    r"pytest[.](mark[.])?(skip|xfai[l]|importorskip)": "a test either holds or fails",
    r"\byaml[.]load\(": "untrusted YAML is read by the safe loader",
}


def check(*argv: str | Path) -> None:
    done = subprocess.run(
        argv, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"\n{done.stdout}{done.stderr}"


def files() -> Iterator[Path]:
    """Yield the files that people write."""
    for name in SINGLE:
        yield ROOT / name
    for tree in TREES:
        for path in sorted((ROOT / tree).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
                yield path


def is_shell(path: Path) -> bool:
    with path.open("rb") as stream:
        line = stream.readline(80)
    shebang = line.startswith(b"#!") and re.search(rb"\b(sh|bash|dash)\b", line)
    return bool(shebang) or path.suffix == ".sh"


def test_ruff_check() -> None:
    check(BIN / "ruff", "check", *CODE)


def test_ruff_format() -> None:
    check(BIN / "ruff", "format", "--check", *CODE)


def test_types() -> None:
    check(BIN / "python", "-m", "mypy", "--strict")


def test_rooms() -> None:
    check(BIN / "python", "-c", "from importlinter.cli import lint_imports_command as lint; lint()")


def test_shell_scripts() -> None:
    # What busybox runs, in images and in guests of tests, is not in shellcheck's language.
    ours = (path for path in files() if path.relative_to(ROOT).parts[0] not in CODE)
    scripts = [path for path in ours if is_shell(path)]
    assert ROOT / "setup.sh" in scripts
    check("shellcheck", *scripts)


def test_no_file_is_long() -> None:
    lengths = {path: path.read_bytes().count(b"\n") for path in files()}
    assert {path: count for path, count in lengths.items() if count > MOST_LINES} == {}


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_forbidden_words(pattern: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert found == [], FORBIDDEN[pattern]


def test_the_interpreter_is_that_of_the_checkout() -> None:
    assert Path(sys.prefix) == ROOT / ".venv"
