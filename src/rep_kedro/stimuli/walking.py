"""Lists files below a folder in one order on every machine."""

import os
from collections.abc import Iterator
from pathlib import Path

from rep_kedro.stimuli.decoding import IMAGE_SUFFIXES
from rep_kedro.stimuli.record import DamageLog

_TABLES = {
    ".arrow",
    ".npz",
    ".npy",
    ".parquet",
    ".pq",
    ".parq",
    ".tfrecord",
    ".h5",
    ".hdf5",
    ".pkl",
    ".pickle",
}
_ARCHIVES = {
    ".tar",
    ".tgz",
    ".tbz",
    ".tbz2",
    ".txz",
    ".zip",
    ".7z",
    ".rar",
    ".zst",
    ".bz2",
    ".xz",
    ".gz",
    ".lz4",
}
DEBRIS = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


def walk_files(root: Path, log: DamageLog) -> list[tuple[str, Path]]:
    """Return (path relative to the root with '/', file) of all files below a folder, sorted by that path.

    Hidden files and those that operating systems leave (``Thumbs.db``) go to ``log.ignored``, a hidden folder
    with the images in it; links that lead back into a folder above them and names that are not UTF-8 go to
    ``log.damaged``.
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
            if _is_hidden(entry.name):
                log.ignore(relative)
                if entry.is_dir(follow_symlinks=False):
                    for image in _images_below(Path(entry.path), f"{relative}/"):
                        log.ignore(image)
            elif entry.is_dir():
                yield from _walk(Path(entry.path), f"{relative}/", (*above, here), log)
            elif entry.is_file():
                yield relative, Path(entry.path)
            else:
                log.add(relative, "a link to nothing, or no regular file")


def empty_folders(root: Path) -> list[str]:
    """Return the folders below another one, relative to it, that hold nothing but hidden files."""
    found = []
    for place, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        if not folders and all(map(_is_hidden, files)) and place != str(root):
            found.append(Path(place).relative_to(root).as_posix())
    return sorted(found)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in DEBRIS


def _images_below(folder: Path, prefix: str) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            yield prefix + path.relative_to(folder).as_posix()


def note_unread(relative: str, log: DamageLog) -> None:
    """Record a file that a source does not read: one that holds data as damaged, any other as ignored."""
    ending = os.path.splitext(relative)[1].lower()
    if ending in IMAGE_SUFFIXES:
        log.add(relative, "an image file, which this source does not read")
    elif ending in _TABLES | _ARCHIVES:
        log.add(relative, f"a file {ending}, which this source does not read")
    else:
        log.ignore(relative)


def is_text(name: str) -> bool:
    """Return whether a name can be encoded in UTF-8; names of files need not be text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
