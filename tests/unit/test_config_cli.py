"""`vmbatch config show|check`, the page made from the table, and the example."""

import argparse
import shutil
from pathlib import Path

import pytest

from vmbatch.cli import config
from vmbatch.config import Site, load_site
from vmbatch.config.model import SECTIONS, Profile, Rule
from vmbatch.config.reference import reference
from vmbatch.config.show import as_yaml
from vmbatch.config.table import keys
from vmbatch.errors import ConfigError

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
FULL = """\
paths: {state: "/a b", templates: /t}
request: {ignore: [yes, "l*"]}
torque: {reserve: 2.5}
shares: {mode: off}
profiles:
  "no": {ram: 1536M, images: ["a*", b], image: b}
  default: {max_ram: 4T}
rules:
  - {queue: q, user: [u*, v], group: 12, asks: false, profile: "no", allow: default}
  - {profile: none}
"""


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    config.add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["config", *words])
    return int(arguments.run(arguments))


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o644)
    return path


def values(site: Site) -> list[object]:
    return [*(getattr(site, name) for name in SECTIONS), dict(site.profiles), site.rules]


@pytest.mark.parametrize("text", ["", FULL])
def test_what_show_prints_is_a_site_file_that_says_the_same(tmp_path: Path, text: str) -> None:
    site = load_site(write(tmp_path / "a.yaml", text))
    again = load_site(write(tmp_path / "b.yaml", "\n".join(as_yaml(site))))
    assert values(again) == values(site)


def test_show_tells_where_values_come_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.yaml", FULL)
    assert run("show", str(path)) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["reserve:", "2.5", "#", f"{path}:3"] in lines
    assert ["home:", "/var/spool/torque", "#", "default"] in lines
    assert ["ram:", "1536M", "#", f"{path}:6"] in lines
    assert lines.count(["max_ram:", "4T", "#", f"{path}:7"]) == 2


def test_check_is_content(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.yaml", "profiles: {default: {prolog: /bin/true}}")
    templates = [f"profiles.default.template: {fault}" for fault in template_faults()]
    assert run("check", str(path)) == (1 if templates else 0)
    told = capsys.readouterr()
    if not templates:
        assert told.out == f"{path}: ok\n"
        assert told.err == ""


def template_faults() -> list[str]:
    """A checkout need not be root's."""
    from vmbatch.config.trust import faults

    return list(faults(ROOT / "templates-vm" / "linux.xml"))


def test_check_prints_all_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        tmp_path / "a.yaml",
        "shares: {mode: x}\nnetwrok: {}\nprofiles: {default: {\n  prolog: /gone.sh}}",
    )
    assert run("check", str(path)) == 1
    told = capsys.readouterr().err
    assert f"{path}:1: shares.mode: found 'x'" in told
    assert f"{path}:2: netwrok: unknown key\n  hint: did you mean network?" in told
    assert f"{path}:4: profiles.default.prolog: /gone.sh: No such file" in told


def test_check_of_a_file_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.yaml", "")
    path.chmod(0o666)
    assert run("check", str(path)) == 1
    assert "writable by group or others" in capsys.readouterr().err
    assert run("check", str(tmp_path / "none.yaml")) == 1
    assert "there is no" in capsys.readouterr().err


def test_check_of_what_the_variable_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VMBATCH_CONFIG", str(tmp_path / "none.yaml"))
    assert run("check") == 1
    assert "which VMBATCH_CONFIG names" in capsys.readouterr().err
    monkeypatch.setenv("VMBATCH_CONFIG", "relative")
    assert run("check") == 1


def test_show_of_a_broken_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        run("show", str(write(tmp_path / "a.yaml", "x: 1")))


def test_the_page_is_the_table() -> None:
    page = (ROOT / "docs" / "site-file.md").read_text()
    assert page == reference(), "run: python -m vmbatch.config.reference > docs/site-file.md"


def test_every_key_has_a_kind_that_takes_its_default() -> None:
    for table in (*SECTIONS.values(), Profile, Rule):
        for key in keys(table):
            assert key.doc.endswith("."), key
            if key.required or key.default is None:
                assert key.required or key.kind.empty, key
                continue
            given = key.default if key.kind.many else (key.default,)
            written = [key.kind.render(value).strip('"') for value in given]
            assert tuple(map(key.kind.parse, written)) == tuple(given), key


def test_the_example_is_right(tmp_path: Path) -> None:
    path = tmp_path / "vmbatch.yaml"
    shutil.copy(ROOT / "contrib" / "vmbatch.yaml", path)
    path.chmod(0o644)
    site = load_site(path)
    assert set(site.profiles) == {"default", "big", "teaching"}
    assert len(site.rules) == 3
