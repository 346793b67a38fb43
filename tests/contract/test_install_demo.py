"""What `setup.sh demo` asks of the command `vmbatch`, played by a script."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmbatch.install import demo

pytestmark = pytest.mark.contract

PLAYED = """\
#!/bin/sh
echo "$PWD: $*" >> {log}
case "$1 $2" in
  "image show") exit {shown} ;;
  "image build") exit {built} ;;
  "local run") echo "from the guest"; exit {ran} ;;
esac
exit 99
"""


def play(tmp_path: Path, *, shown: int = 0, built: int = 0, ran: int = 0) -> tuple[Path, Path]:
    """Return a checkout whose command notes what it is asked, and the notes."""
    log = tmp_path / "log"
    command = tmp_path / "checkout" / ".venv" / "bin" / "vmbatch"
    command.parent.mkdir(parents=True)
    command.write_text(PLAYED.format(log=log, shown=shown, built=built, ran=ran))
    command.chmod(0o755)
    return tmp_path / "checkout", log


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setattr(demo, "_home_of_user", lambda: tmp_path / "home")


def test_with_an_image_the_job_is_run_from_the_users_home(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkout, log = play(tmp_path, ran=7)
    assert demo.demo(checkout) == 7
    last = log.read_text().splitlines()[-1]
    assert last == (
        f"{tmp_path / 'home'}: local run --timings -u vmdemo -l other=vbuserimage=tiny "
        f"{checkout / 'examples' / 'hello.sh'}"
    )
    out, err = capfd.readouterr()
    assert out == "from the guest\n"
    assert "exit status of the job: 7" in err


def test_without_an_image_it_is_built_first(tmp_path: Path) -> None:
    checkout, log = play(tmp_path, shown=1)
    assert demo.demo(checkout) == 0
    asked = [line.split(": ")[1].split(" -")[0] for line in log.read_text().splitlines()]
    assert asked == ["image show tiny", "image build tiny", "local run"]


def test_a_failed_build_ends_it(tmp_path: Path) -> None:
    checkout, log = play(tmp_path, shown=1, built=3)
    assert demo.demo(checkout) == 3
    assert "local run" not in log.read_text()
