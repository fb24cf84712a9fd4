"""When and how long: one line of JSON per computed member, outside the collections.

Times would make the bytes of a collection differ from run to run, so they are kept beside it.
"""

import errno
import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = (
    "rep_kedro",
    "torch",
    "numpy",
    "timm",
    "open_clip_torch",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "kedro",
)


@cache
def package_versions() -> Mapping[str, str]:
    """Return the versions of the packages that numbers depend on, by name."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def journal_path(collection_folder: Path) -> Path:
    """Return where a collection's journal stands: beside its folder."""
    return collection_folder.with_name(f"{collection_folder.name}.journal.jsonl")


def append_to_journal(path: Path, *, key: str, digest: str, seconds: float, n_bytes: int) -> None:
    """Add one line in one write under a lock, so that processes which append at once do not mix lines.

    A line that a killed process or a full disk left unfinished is closed first.

    Raises:
        OSError: If the line cannot be written.
    """
    line = {
        "key": key,
        "recipe_digest": digest,
        "seconds": round(seconds, 3),
        "n_bytes": n_bytes,
        "computed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": dict(package_versions()),
    }
    text = (json.dumps(line, sort_keys=True) + "\n").encode()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            text = b"\n" + text
        written = os.write(descriptor, text)
        if written != len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(descriptor)


def read_journal(collection_folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the newest journal line of each (key, recipe digest); broken lines are passed over."""
    path = journal_path(collection_folder)
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    try:
        content = path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # times are a courtesy; results do not wait for them
        return lines
    for text in content.splitlines():
        try:
            line = json.loads(text)
            lines[line["key"], line["recipe_digest"]] = line
        except (ValueError, LookupError, TypeError, RecursionError):
            continue
    return lines
