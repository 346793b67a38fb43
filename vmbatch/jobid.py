"""Job ids and the words made of them; light, for it is on the path of bare jobs."""

from __future__ import annotations

from vmbatch.errors import RequestError

_ALNUM = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_PLAIN = _ALNUM | frozenset(".-")
_ALLOWED = _PLAIN | frozenset("_[]")
_MAX_LENGTH = 200


def check_job_id(text: str) -> str:
    """Return `text` if it can be a job id.

    Raises:
        RequestError: it can't.
    """
    if not 0 < len(text) <= _MAX_LENGTH or text[0] not in _ALNUM or not _ALLOWED.issuperset(text):
        raise RequestError(
            f"{text!r} is not a job id",
            hint="a job id looks like 17.server or 17[3].server; see: vmbatch guest list",
        )
    return text


def slug_of(job_id: str) -> str:
    """Turn a job id into a word of letters, digits, dot, dash and underscore.

    >>> slug_of("17.vm")
    '17.vm'
    >>> slug_of("186[0].vm").startswith("186_0_.vm-")
    True

    Raises:
        RequestError: `job_id` is not a job id.
    """
    check_job_id(job_id)
    if _PLAIN.issuperset(job_id):
        return job_id
    import hashlib  # only ids of array jobs pay for it

    plain = "".join(letter if letter in _PLAIN else "_" for letter in job_id)
    return f"{plain}-{hashlib.sha256(job_id.encode()).hexdigest()[:6]}"
