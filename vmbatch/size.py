"""Sizes of memory as people write them."""

from __future__ import annotations

import re

MOST_MIB = 64 << 20
_SIZE = re.compile(r"([0-9]{1,12})([KMGTkmgt]?)")
_KIB = {"K": 1, "M": 1 << 10, "": 1 << 10, "G": 1 << 20, "T": 1 << 30}


def parse_size(text: str) -> int:
    """Return the MiB of a size such as ``512M``, ``2G`` or ``768``, which is MiB.

    >>> parse_size("2G"), parse_size("768"), parse_size("2048k")
    (2048, 768, 2)

    Raises:
        ValueError: it is no size; the text says what was expected.
    """
    hit = _SIZE.fullmatch(text)
    if not hit:
        raise ValueError("a whole number with K, M, G or T behind it (without: MiB)")
    kib = int(hit[1]) * _KIB[hit[2].upper()]
    if kib % 1024:
        raise ValueError("a whole number of MiB, that is a multiple of 1024K")
    if not 1 <= kib // 1024 <= MOST_MIB:
        raise ValueError("a size from 1M to 64T")
    return kib // 1024


def format_size(mib: int) -> str:
    """Write MiB in the largest unit that keeps it whole.

    >>> format_size(512), format_size(2048)
    ('512M', '2G')
    """
    for unit, size in (("T", 1 << 20), ("G", 1 << 10)):
        if mib and mib % size == 0:
            return f"{mib // size}{unit}"
    return f"{mib}M"
