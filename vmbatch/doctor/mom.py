"""Checks of a Torque mom: its scripts, its job starter, its time limit."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vmbatch.batch.momconfig import MomConfig
from vmbatch.doctor.finding import Finding, fail, ok, warn

NEEDED = ("prologue", "epilogue")
PARALLEL = ("prologue.parallel", "epilogue.parallel")
BOOT_SECONDS = {"kvm": 60, "tcg": 120}
"""What a guest of an ordinary distribution may need until it is ready."""
_LEAST_SECONDS = 20
_AGAIN = "run setup.sh again, or link it by hand"


@dataclass(frozen=True, kw_only=True, slots=True)
class Hook:
    """A script in ``mom_priv`` as a mom sees it.

    Args:
        path: what the mom runs.
        exists: whether there is anything of that name.
        target: where all links end, or None where they lead nowhere.
        uid: owner of what is there.
        mode: its type and mode.
    """

    path: Path
    exists: bool
    target: Path | None
    uid: int = 0
    mode: int = 0


def look_at(path: Path) -> Hook:
    """Return what stands at a path, links followed as the mom does."""
    if not path.exists():
        return Hook(path=path, exists=os.path.lexists(path), target=None)
    found = path.stat()
    return Hook(path=path, exists=True, target=path.resolve(), uid=found.st_uid, mode=found.st_mode)


def check_hook(hook: Hook, scripts: Path) -> Finding:
    """Tell whether the mom runs a script of ours.

    Args:
        hook: the script.
        scripts: directory of our scripts.
    """
    name = hook.path.name
    subject = f"mom_priv/{name}"
    ours = scripts / name
    report = fail if name in NEEDED else warn
    link = f"ln -s {ours} {hook.path}"
    if not hook.exists:
        what = "every job" if name in NEEDED else "a job of several nodes"
        return report(subject, f"is missing: {what} runs without it", link)
    if hook.target is None:
        return fail(subject, "leads nowhere: the mom skips it, jobs run on the node", _AGAIN)
    if hook.target != ours.resolve():
        cure = f"mv {hook.path} {hook.path}.orig; {link} (the .orig still runs)"
        return report(subject, f"is not vmbatch's, but {hook.target}", cure)
    problem = mom_refuses(hook)
    if problem:
        return fail(
            subject,
            f"the mom does not run it, and starts the job over and over: {hook.target} {problem}",
            f"chown root {hook.target}; chmod 755 {hook.target}",
        )
    return ok(subject, f"leads to {hook.target}")


def mom_refuses(hook: Hook) -> str:
    """Return why a mom would not run a root script; empty where it would.

    Only the end of all links counts: a regular file of root's, readable and executable by root,
    writable by nobody else.
    """
    if not stat.S_ISREG(hook.mode):
        return "is not a regular file"
    if hook.uid != 0:
        return f"belongs to uid {hook.uid}"
    if hook.mode & 0o500 != 0o500:
        return f"has mode {stat.S_IMODE(hook.mode):o}: root can't read and execute it"
    if hook.mode & 0o022:
        return f"has mode {stat.S_IMODE(hook.mode):o}: others can write it"
    return ""


def check_job_starter(
    config: MomConfig, path: Path, remoteshell: Path, leads_to_us: Callable[[str | None], bool]
) -> Finding:
    """Tell whether the mom starts jobs through remoteshell.

    Args:
        config: the mom's configuration.
        path: where it is.
        remoteshell: our job starter.
        leads_to_us: whether a job starter is ours, or comes to ours in the end.
    """
    line = f"$job_starter {remoteshell}"
    if config.job_starter is None:
        return warn(
            "job starter",
            f"{path} has none: batch jobs run by a wrapper instead, interactive ones do not",
            f"add to {path}, and restart the mom: {line}",
        )
    if not Path(config.job_starter).exists():
        return fail(
            "job starter",
            f"{config.job_starter} does not exist: the mom runs jobs on the node without it",
            f"put into {path}, and restart the mom: {line}",
        )
    if not leads_to_us(config.job_starter):
        return warn(
            "job starter",
            f"{config.job_starter} does not lead to remoteshell: batch jobs run by a wrapper, "
            "interactive ones do not",
            f'let it end in: exec {remoteshell} "$@"',
        )
    return ok("job starter", config.job_starter)


def check_privileged(text: str) -> Finding | None:
    """Tell of a setting that lets every user become root; None where it is not made."""
    setting = "$job_starter_run_privileged"
    values = [line.split()[1:2] for line in text.splitlines() if line.split()[:1] == [setting]]
    if not values or values[-1] in (["false"], ["0"], ["no"]):
        return None
    return fail(
        "job starter",
        f"{setting} runs the job starter, with the user's environment, as root",
        f"set {setting} false, and restart the mom",
    )


def check_limit(limit: int, kind: str) -> Finding:
    """Tell whether a guest can boot before the mom kills the prologue.

    Args:
        limit: seconds that a prologue has: ``$prologalarm`` less 10.
        kind: the accelerator: ``kvm`` or ``tcg``.
    """
    wanted = BOOT_SECONDS[kind]
    text = f"the mom kills it after {limit} s"
    cure = f"set $prologalarm {wanted + 10} or more in mom_priv/config (the mom takes off 10 s)"
    if limit < _LEAST_SECONDS:
        return fail("prologue", text, cure)
    if limit < wanted:
        return warn("prologue", f"{text}; a guest here may need {wanted} s to boot", cure)
    return ok("prologue", text)


def check_mom(
    home: Path,
    scripts: Path,
    config: MomConfig,
    *,
    limit: int,
    kind: str,
    leads_to_us: Callable[[str | None], bool],
) -> Iterator[Finding]:
    """Yield the findings on a mom; one line where the node has none."""
    mom_priv = home / "mom_priv"
    if not mom_priv.is_dir():
        yield ok("Torque", f"no {mom_priv}: this node has no mom, its part is not checked")
        return
    for name in (*NEEDED, *PARALLEL):
        yield check_hook(look_at(mom_priv / name), scripts)
    file = mom_priv / "config"
    yield check_job_starter(config, file, scripts / "remoteshell", leads_to_us)
    if file.exists() and (privileged := check_privileged(file.read_text(errors="replace"))):
        yield privileged
    yield check_limit(limit, kind)
