"""How many processor cores this process may use."""

import os

SHARE_VARIABLE = "REP_KEDRO_CORES"
"""Environment variable of a worker process: its share of the cores."""


def count_cores() -> int:
    """Return the cores that this process may use: its share where it is one of several workers."""
    if share := os.environ.get(SHARE_VARIABLE):
        return int(share)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
