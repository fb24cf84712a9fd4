"""What the files of a source hold, as one digest; files that did not change are not read again.

The digests of single files are kept in a small data base in the user's cache folder (or in the folder that
``REP_KEDRO_CACHE`` names), by path, size and times. Where that folder cannot be written, all files are read
each time.
"""

import hashlib
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from rep_kedro.stimuli.base import SourceSpec, require_path
from rep_kedro.stimuli.label_table_spec import TableLabelledSpec
from rep_kedro.stimuli.record import DamagedSourceError, DamageLog
from rep_kedro.stimuli.walking import walk_files

_RECENT_NS = 2_000_000_000  # a file this young may change again within the clock's step
_READ_BYTES = 1 << 20


def fingerprint_source(spec: SourceSpec) -> str | None:
    """Return the SHA-256 over names (relative to the given places) and contents of a source's files.

    Returns:
        64 hexadecimal digits; None for a source without files. Moving the files to another place, or another
        machine, does not change it.

    Raises:
        FileNotFoundError: If a file or folder is missing.
        DamagedSourceError: If a folder holds no files.
    """
    files = [
        (split, relative, file)
        for split, roots in spec.roots().items()
        for root in roots
        for relative, file in _files_at(root)
    ]
    if not files:
        return None
    digests = digest_files([file for _, _, file in files])
    total = hashlib.sha256()
    for (split, relative, _), digest in zip(files, digests, strict=True):
        total.update(f"{split}\0{relative}\0{digest}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def digest_labels(spec: SourceSpec) -> str | None:
    """Return the SHA-256 of a source's table of labels; None where it has none.

    Raises:
        FileNotFoundError: If the file is missing.
    """
    origin = spec.origin()
    if not isinstance(origin, TableLabelledSpec) or origin.labels is None:
        return None
    return digest_files([require_path(origin.labels.file)])[0]


def _files_at(root: Path) -> list[tuple[str, Path]]:
    if require_path(root).is_file():
        return [(root.name, root), *_class_names_beside(root)]
    log = DamageLog()
    found = walk_files(root, log)
    if not found:
        raise DamagedSourceError(f"no files in {root}")
    return [*found, *_class_names_beside(root)]


def _class_names_beside(root: Path) -> list[tuple[str, Path]]:
    names = root.parent / "classnames.txt"
    return [("../classnames.txt", names)] if names.is_file() else []


def digest_files(files: list[Path]) -> list[str]:
    """Return the SHA-256 of each file; one that did not change since is not read again."""
    states = [_state(file) for file in files]
    keys = [str(file.absolute()) for file in files]
    known = _recall(keys)
    digests, fresh = [], {}
    for file, key, state in zip(files, keys, states, strict=True):
        stored = known.get(key)
        if stored and stored[0] == state:
            digests.append(stored[1])
            continue
        digests.append(_digest_file(file))
        if state == _state(file) and time.time_ns() - file.stat().st_mtime_ns > _RECENT_NS:
            fresh[key] = (state, digests[-1])
    _remember(fresh)
    return digests


def _state(file: Path) -> str:
    status = file.stat()
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}"


def _digest_file(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def cache_file() -> Path:
    """Return where digests of files are kept."""
    folder = os.environ.get("REP_KEDRO_CACHE")
    if folder:
        return Path(folder) / "fingerprints.sqlite"
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "rep_kedro" / "fingerprints.sqlite"


def _recall(keys: list[str]) -> dict[str, tuple[str, str]]:
    if not cache_file().exists():
        return {}
    wanted = set(keys)
    try:
        with closing(_connect()) as base:
            if len(keys) < 1000:
                rows = [
                    row for key in keys for row in base.execute("SELECT * FROM files WHERE path = ?", (key,))
                ]
            else:
                rows = [row for row in base.execute("SELECT * FROM files") if row[0] in wanted]
    except sqlite3.Error:
        return {}  # busy, or damaged: the files are read again
    return {path: (state, digest) for path, state, digest in rows}


def _remember(fresh: dict[str, tuple[str, str]]) -> None:
    if not fresh:
        return
    try:
        cache_file().parent.mkdir(parents=True, exist_ok=True)
        with closing(_connect()) as base, base:
            base.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?)",
                [(path, state, digest) for path, (state, digest) in fresh.items() if path.isprintable()],
            )
    except (sqlite3.Error, OSError):
        return  # only speed is lost


def _connect() -> sqlite3.Connection:
    base = sqlite3.connect(cache_file(), timeout=5)
    base.execute("CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, state TEXT, digest TEXT)")
    return base
