"""Files that are either whole or not there."""

import itertools
import os
import socket
from collections.abc import Callable
from pathlib import Path

PARTIAL_SUFFIX = ".partial"
_COUNTER = itertools.count()


def write_atomically(path: Path, write: Callable[[Path], None]) -> int:
    """Write a file under a temporary name in its folder, flush it to disk, and move it into place.

    Args:
        path: Where the file shall stand; its folder is made. An existing file is replaced, never
            written into (it may be a link to a cache).
        write: Writes the whole file at the path it is given.

    Returns:
        The file's size in bytes.

    Raises:
        OSError: If the folder cannot be written or the disk is full; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / f".{path.name}.{_owner()}-{next(_COUNTER)}{PARTIAL_SUFFIX}"
    try:
        write(partial)
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        size = partial.stat().st_size
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return size


def write_bytes_atomically(path: Path, content: bytes) -> int:
    """Write bytes with :func:`write_atomically`."""
    return write_atomically(path, lambda partial: _write_bytes(partial, content))


def sweep_partials(folder: Path) -> int:
    """Remove the temporary files that killed processes of this machine left below a folder.

    Files of live processes and of other machines are left alone.

    Returns:
        How many files were removed.
    """
    removed = 0
    for partial in folder.rglob(f".*{PARTIAL_SUFFIX}"):
        owner = partial.name.removesuffix(PARTIAL_SUFFIX).rsplit(".", 1)[-1]
        host, _, rest = owner.partition("~")
        pid = rest.partition("-")[0]
        if host == _host() and pid.isdigit() and not _is_alive(int(pid)):
            partial.unlink(missing_ok=True)
            removed += 1
    return removed


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _host() -> str:
    return socket.gethostname().replace(".", "-").replace("~", "-")


def _owner() -> str:
    return f"{_host()}~{os.getpid()}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
