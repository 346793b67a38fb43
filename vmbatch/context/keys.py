"""ssh keys for one job, made in memory: a key that never was in a file can't be left in one.

Formats: OpenSSH ``PROTOCOL.key`` (private), RFC 8709 (public), and dropbear's own.
"""

from __future__ import annotations

import base64
import os
import struct
import textwrap
from dataclasses import dataclass, field

from vmbatch.context.conf import fingerprint
from vmbatch.errors import NodeError

_TYPE = b"ssh-ed25519"
_BEGIN = "-----BEGIN OPENSSH PRIVATE KEY-----"
_END = "-----END OPENSSH PRIVATE KEY-----"
_BLOCK = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyPair:
    """An ed25519 key.

    Args:
        private: OpenSSH private key file.
        public: public key line.
        fingerprint: ``SHA256:…``.
    """

    private: bytes = field(repr=False)
    public: str
    fingerprint: str


def make_key(comment: str) -> KeyPair:
    """Make a new ed25519 key.

    Args:
        comment: one line that tells people what the key is for.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    point = key.public_key().public_bytes_raw()
    comment = " ".join(comment.split())
    line = f"ssh-ed25519 {base64.b64encode(_public(point)).decode()} {comment}"
    private = _openssh_form(key.private_bytes_raw(), point, comment.encode())
    return KeyPair(private=private, public=line, fingerprint=fingerprint(line))


def dropbear_form(private: bytes) -> bytes:
    """Turn an OpenSSH ed25519 private key into the form that dropbear's server reads.

    Args:
        private: as `make_key` made it: one key, not encrypted.

    Raises:
        NodeError: it is another kind of key.
    """
    try:
        secret = _secret_of(private)
    except (ValueError, struct.error):
        raise NodeError("the host key is not a plain ed25519 key in OpenSSH format") from None
    return _string(_TYPE) + _string(secret)


def _secret_of(private: bytes) -> bytes:
    """Return seed and point, 64 bytes."""
    blob = base64.b64decode(b"".join(private.split(b"\n")[1:-2]), validate=True)
    if blob[: len(_HEAD)] != _HEAD:
        raise ValueError("encrypted, or more than one key")
    _, rest = _take(blob[len(_HEAD) :])
    section, _ = _take(rest)
    kind, rest = _take(section[8:])
    _, rest = _take(rest)
    secret, _ = _take(rest)
    if kind != _TYPE or len(secret) != 64:
        raise ValueError("not ed25519")
    return secret


def _openssh_form(seed: bytes, point: bytes, comment: bytes) -> bytes:
    check = os.urandom(4) * 2
    section = check + _public(point) + _string(seed + point) + _string(comment)
    padding = bytes(range(1, 1 + -len(section) % _BLOCK))
    blob = _HEAD + _string(_public(point)) + _string(section + padding)
    lines = [_BEGIN, *textwrap.wrap(base64.b64encode(blob).decode(), 70), _END, ""]
    return "\n".join(lines).encode()


def _public(point: bytes) -> bytes:
    return _string(_TYPE) + _string(point)


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _take(data: bytes) -> tuple[bytes, bytes]:
    (length,) = struct.unpack_from(">I", data)
    return data[4 : 4 + length], data[4 + length :]


_HEAD = b"openssh-key-v1\0" + _string(b"none") * 2 + _string(b"") + struct.pack(">I", 1)
"""Neither cipher nor key derivation, and one key."""
