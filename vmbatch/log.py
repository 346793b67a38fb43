"""The log file of root's processes; nothing here ever writes into a job's own output."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path


def log_to_file(path: Path) -> None:
    """Send the log to a file of root's; where that can't be written there is no log.

    Lines: time in UTC, process, level, text.
    """
    logger = logging.getLogger("vmbatch")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.handlers[:] = [_handler(path)]


def _handler(path: Path) -> logging.Handler:
    if os.geteuid() != 0:
        return logging.NullHandler()
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        handler = logging.FileHandler(path, delay=False)
        path.chmod(0o600)
    except OSError:
        return logging.NullHandler()
    formatter = logging.Formatter(
        "%(asctime)sZ %(process)d %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    return handler
