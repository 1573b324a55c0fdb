"""What the benchmarks share: tools, processes, a stand with a backend, and the proxies that are put on it.

Python's standard library only. Every socket is on loopback, every port is chosen free, every file is in a
temporary directory or under target/, and only processes started here are ended, by their ids.
"""

import os
import pathlib
import sys

sys.dont_write_bytecode = True

BENCHES = pathlib.Path(__file__).resolve().parent.parent
CONFIGS = BENCHES / "configs"
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or BENCHES.parent / "target").resolve()


class Failure(Exception):
    """Something that ends the run with a message and no traceback."""
