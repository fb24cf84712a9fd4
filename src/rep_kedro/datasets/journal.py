"""When and how long: one line of JSON per computed member, outside the collections.

Times would make the bytes of a collection differ from run to run, so they are kept next to it.
"""

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
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
    "scipy",
    "pillow",
    "timm",
    "torchvision",
    "open_clip_torch",
    "transformers",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "kedro",
)
_NUMBERS = frozenset({"seconds", "n_bytes", "peak_memory_bytes"})
_BEYOND = 1e18  # seconds or bytes that nothing takes; also keeps out infinity
_KINDS: Mapping[str, type] = {
    "computed_at": str,
    "failed": str,
    "peak_memory_reason": str,
    "versions": dict,
}


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
    """Return the path of a collection's journal: next to its folder."""
    return collection_folder.with_name(f"{collection_folder.name}.journal.jsonl")


def begin_journal(collection_folder: Path) -> None:
    """Make an empty journal where there is none, so that a collection without members has one, too.

    Raises:
        OSError: If it cannot be written.
    """
    path = journal_path(collection_folder)
    if not path.exists():
        path.touch()


def append_to_journal(
    path: Path,
    *,
    key: str,
    digest: str,
    seconds: float,
    n_bytes: int,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Note that a member was computed, with further facts about it.

    Raises:
        OSError: If the line cannot be written.
    """
    about = {"key": key, "recipe_digest": digest, "seconds": round(seconds, 3), "n_bytes": n_bytes}
    _append(path, {**(facts or {}), **about})


def append_failure(path: Path, *, key: str, digest: str, why: str) -> None:
    """Note that a member failed; a later line of the same member replaces it.

    Raises:
        OSError: If the line cannot be written.
    """
    _append(path, {"key": key, "recipe_digest": digest, "failed": why})


def _append(path: Path, facts: Mapping[str, Any]) -> None:
    """Add one line in one write under a lock, so that processes which append at once do not mix lines.

    A line that a killed process or a full disk left unfinished is closed first.
    """
    line = {
        **facts,
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
    """Return the newest line of each (key, recipe digest) that was computed; broken lines are ignored.

    ``seconds`` and ``n_bytes`` are finite and not negative where they are there.
    """
    return {about: line for about, line in _read_lines(collection_folder) if "failed" not in line}


def read_failures(collection_folder: Path) -> dict[tuple[str, str], str]:
    """Return why members failed, by key and recipe digest, unless they were computed since."""
    newest = {about: line.get("failed") for about, line in _read_lines(collection_folder)}
    return {about: str(why) for about, why in newest.items() if why is not None}


def _read_lines(collection_folder: Path) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """Yield the sound lines in their order, by key and recipe digest."""
    try:
        content = journal_path(collection_folder).read_text(encoding="utf-8", errors="replace")
    except OSError:  # times are a courtesy; results do not wait for them
        return
    for text in content.splitlines():
        try:
            line = json.loads(text)
            about = line["key"], line["recipe_digest"]
        except (ValueError, LookupError, TypeError, RecursionError):
            continue
        if all(isinstance(part, str) for part in about):
            yield about, {name: value for name, value in line.items() if _is_sound(name, value)}


def _is_sound(name: str, value: object) -> bool:
    """Return whether a value can be what its name says; times and sizes are finite and not negative."""
    if name in _NUMBERS:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and 0 <= value < _BEYOND  # type: ignore[operator]
    kind = _KINDS.get(name)
    return kind is None or isinstance(value, kind)
