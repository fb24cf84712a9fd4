"""What this process takes of the machine: cores, and memory that it keeps."""

import ctypes
import os
from contextlib import suppress

SHARE_VARIABLE = "REP_KEDRO_CORES"
"""Environment variable of a worker process: its share of the cores."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_KEPT_BYTES, _LARGE_BYTES = 256 << 20, 32 << 20


def count_cores() -> int:
    """Return the cores that this process may use: its share where it is one of several workers."""
    if share := os.environ.get(SHARE_VARIABLE):
        return int(share)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Let this process keep up to 256 MB that it has freed, in blocks of at most 32 MB.

    Else glibc returns what a batch frees, and the next batch waits for new pages of the kernel: 5 % of the
    training of a network for 16 px, a fifth for 32 px. With another library nothing changes.
    """
    with suppress(OSError, AttributeError, TypeError):  # another system, another library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
