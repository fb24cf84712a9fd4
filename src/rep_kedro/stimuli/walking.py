"""Lists files below a folder in one order on every machine."""

import os
from collections.abc import Iterator
from pathlib import Path

from rep_kedro.stimuli.record import DamageLog

DEBRIS = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


def walk_files(root: Path, log: DamageLog) -> list[tuple[str, Path]]:
    """Return (path relative to the root with '/', file) of all files below a folder, sorted by that path.

    Files that operating systems leave (hidden ones, ``Thumbs.db``) go to ``log.ignored``; links that lead
    back into a folder above them and names that are not UTF-8 go to ``log.damaged``.
    """
    found = []
    for relative, file in _walk(root, "", (), log):
        if is_text(relative):
            found.append((relative, file))
        else:
            log.add(os.fsencode(relative).decode("utf-8", "backslashreplace"), "file name is not UTF-8")
    return sorted(found)


def _walk(folder: Path, prefix: str, above: tuple[Path, ...], log: DamageLog) -> Iterator[tuple[str, Path]]:
    here = folder.resolve()
    if here in above:
        log.add(prefix.rstrip("/"), "a link that leads back to a folder above it")
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            relative = prefix + entry.name
            if entry.name.startswith(".") or entry.name.lower() in DEBRIS:
                log.ignore(relative)
            elif entry.is_dir():
                yield from _walk(Path(entry.path), f"{relative}/", (*above, here), log)
            elif entry.is_file():
                yield relative, Path(entry.path)
            else:
                log.add(relative, "a link to nothing, or no regular file")


def is_text(name: str) -> bool:
    """Say whether a name can be written in UTF-8; names of files need not be text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
