from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from vmbatch.context.keys import dropbear_form, make_key
from vmbatch.errors import NodeError

pytestmark = pytest.mark.unit


def private_file(directory: Path, data: bytes) -> Path:
    path = directory / "key"
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def ssh_keygen(*words: str | Path) -> str:
    return subprocess.run(
        ["ssh-keygen", *map(str, words)], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.mark.parametrize("comment", ["", "a", "vmbatch 17.vm", "x" * 9, "två\nrader"])
def test_openssh_reads_the_key_and_derives_the_same_public_half(
    tmp_path: Path, comment: str
) -> None:
    pair = make_key(comment)
    path = private_file(tmp_path, pair.private)
    assert ssh_keygen("-y", "-f", path).split()[:2] == pair.public.split()[:2]
    assert ssh_keygen("-l", "-f", path).split()[1] == pair.fingerprint


def test_openssh_signs_with_the_key(tmp_path: Path) -> None:
    pair = make_key("signer")
    path = private_file(tmp_path, pair.private)
    (tmp_path / "text").write_text("hello")
    ssh_keygen("-Y", "sign", "-n", "file", "-f", path, tmp_path / "text")
    assert (tmp_path / "text.sig").read_text().startswith("-----BEGIN SSH SIGNATURE")


def test_each_key_is_new_and_does_not_show_itself() -> None:
    first, second = make_key("a"), make_key("a")
    assert first.private != second.private
    assert first.fingerprint != second.fingerprint
    assert "PRIVATE" not in repr(first)


def test_dropbear_form_holds_the_same_key() -> None:
    pair = make_key("host")
    form = dropbear_form(pair.private)
    point = base64.b64decode(pair.public.split()[1])[-32:]
    assert form[:15] == b"\0\0\0\x0bssh-ed25519"
    assert form[15:19] == b"\0\0\0\x40"
    assert len(form) == 15 + 4 + 64
    assert form.endswith(point)


@pytest.mark.parametrize("data", [b"", b"rubbish", b"-----BEGIN\nAAAA\n-----END\n"])
def test_other_files_are_refused_as_host_keys(data: bytes) -> None:
    with pytest.raises(NodeError, match="host key"):
        dropbear_form(data)


def test_an_encrypted_key_is_refused(tmp_path: Path) -> None:
    path = private_file(tmp_path, make_key("host").private)
    ssh_keygen("-p", "-N", "secret", "-f", path)
    with pytest.raises(NodeError, match="host key"):
        dropbear_form(path.read_bytes())
