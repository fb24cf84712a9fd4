"""Files that are either complete or absent."""

import itertools
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

PARTIAL_SUFFIX = ".partial"
_NAME_CHARS, _HOST_CHARS = 40, 32  # a file name has at most 255 bytes
_ABANDONED_S = 24 * 3600.0
_COUNTER = itertools.count()


def write_atomically(path: Path, write: Callable[[Path], object]) -> int:
    """Write a file under a temporary name in its folder, flush it to disk, and move it into place.

    Args:
        path: Where the file is to be; its folder is made. An existing file is replaced, never
            written into (it may be a link to a cache).
        write: Writes the whole file at the path it is given.

    Returns:
        The file's size in bytes.

    Raises:
        OSError: If the folder cannot be written or the disk is full; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / f"{_partial_prefix(path)}{_owner()}-{next(_COUNTER)}{PARTIAL_SUFFIX}"
    try:
        write(partial)
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
            size = os.fstat(stream.fileno()).st_size
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    return size


def write_bytes_atomically(path: Path, content: bytes) -> int:
    """Write bytes with :func:`write_atomically`."""
    return write_atomically(path, lambda partial: partial.write_bytes(content))


def sweep_partials(folder: Path) -> int:
    """Remove the temporary files that killed processes left below a folder.

    Files of live processes of this machine are left alone, and so are those of other machines until
    nobody has written to them for a day.

    Returns:
        How many files were removed.
    """
    return _sweep(folder.rglob(f".*{PARTIAL_SUFFIX}"), folder)


def sweep_partials_of(path: Path) -> int:
    """Remove what killed processes left of one file, as :func:`sweep_partials` does for a folder."""
    prefix = _partial_prefix(path)
    partials = path.parent.glob(f".*{PARTIAL_SUFFIX}")
    return _sweep((partial for partial in partials if partial.name.startswith(prefix)), path.parent)


def _sweep(partials: Iterable[Path], folder: Path) -> int:
    removed = 0
    for partial in list(partials):
        with suppress(FileNotFoundError):  # another process sweeps, or has just finished its file
            if _is_left_behind(partial, folder):
                partial.unlink()
                removed += 1
    return removed


def _is_left_behind(partial: Path, folder: Path) -> bool:
    owner = partial.name.removesuffix(PARTIAL_SUFFIX).rsplit(".", 1)[-1]
    place, _, rest = owner.rpartition("~")
    pid = rest.partition("-")[0]
    if place == _place() and pid.isdigit() and not _is_alive(int(pid)):
        return True
    return _folder_time(folder) - partial.stat().st_mtime > _ABANDONED_S


def _folder_time(folder: Path) -> float:
    """Return the time by the clock of the folder's file system, in seconds (a file server has its own)."""
    probe = folder / f".{_owner()}-{next(_COUNTER)}.clock{PARTIAL_SUFFIX}"
    try:
        probe.write_bytes(b"")
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _partial_prefix(path: Path) -> str:
    return f".{path.name[:_NAME_CHARS]}."


@cache
def _place() -> str:
    """Name the machine and, where there are containers, the space in which process ids count."""
    host = socket.gethostname().replace(".", "-").replace("~", "-")[:_HOST_CHARS]
    try:
        space = f"{os.stat('/proc/self/ns/pid').st_ino:x}"
    except OSError:
        space = "0"
    return f"{host}~{space}"


def _owner() -> str:
    return f"{_place()}~{os.getpid()}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
