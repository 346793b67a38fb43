"""The way in from setup.sh: ``/usr/bin/python3 -I vmbatch/install/__main__.py ARGUMENTS…``."""

from __future__ import annotations

import sys
from pathlib import Path

# With -I neither the working directory nor this file's own stands in the path of modules.
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from vmbatch.install.command import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], ROOT))
