"""A digest of a whole file within the file, so that any flipped bit is found.

The writer leaves a blank seal in the file: a mark and 64 zeros. Sealing replaces the zeros by the SHA-256 of
all bytes of the file as they are with the zeros. Nothing is outside of the digest: a flip in the data, in
the header, in the format's own tables, in the mark or in the digest itself breaks it.
"""

import hashlib
import mmap
import re
from collections.abc import Callable
from pathlib import Path

from kedro.io import DatasetError

from rep_kedro.datasets.atomic import write_atomically
from rep_kedro.errors import UserError

MARK = "sealed-by-sha256-"
_DIGITS = 64
_ZEROS = b"0" * _DIGITS
BLANK_SEAL = MARK + _ZEROS.decode()
"""What a writer puts where the digest belongs."""
_COMMENT = re.compile(rf"<!-- {MARK}[0-9a-f]{{{_DIGITS}}} -->\n\Z")


class DamagedMemberError(DatasetError, UserError):
    """A file that is truncated, of another format, or not of this project."""


def write_sealed(path: Path, write: Callable[[Path], object], *, at_end: bool = False) -> int:
    """Write a file with :func:`~rep_kedro.datasets.atomic.write_atomically` and seal it.

    Args:
        path: The file.
        write: Writes the whole file, with :data:`BLANK_SEAL` in it.
        at_end: Whether the seal is the last text of its kind in the file; the first otherwise.

    Returns:
        The file's size in bytes.
    """

    def write_and_seal(partial: Path) -> None:
        write(partial)
        with partial.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            place, found = _seal_of(content, at_end=at_end)
        with partial.open("r+b") as target:
            target.seek(place)
            target.write(found.encode())

    return write_atomically(path, write_and_seal)


def sealed(text: str, *, at_end: bool = False) -> bytes:
    """Return the bytes of a text file that holds a blank seal, sealed."""
    content = text.encode()
    place, found = _seal_of(content, at_end=at_end)
    return content[:place] + found.encode() + content[place + _DIGITS :]


def with_seal_comment(markup: str) -> bytes:
    """Return the bytes of an HTML or SVG document, sealed by a comment at its end."""
    return sealed(f"{markup}<!-- {BLANK_SEAL} -->\n", at_end=True)


def without_seal_comment(markup: str) -> str:
    """Return the document that :func:`with_seal_comment` was given."""
    return _COMMENT.sub("", markup)


def has_seal(path: Path) -> bool:
    """Return whether a file has a seal; the first versions of the formats had none."""
    return MARK.encode() in path.read_bytes()


def require_seal(path: Path, *, at_end: bool = False) -> None:
    """Compare every byte of a file with its seal.

    Raises:
        DamagedMemberError: If there is no seal, or a byte is not what was written.
    """
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            place, found = _digest(content, at_end=at_end)
            is_whole = content[place : place + _DIGITS] == found.encode()
    except (OSError, ValueError) as problem:
        raise DamagedMemberError(f"{path} is damaged: {problem}") from problem
    if not is_whole:
        raise DamagedMemberError(f"{path} is damaged: its content is not what was written")


def _seal_of(content: bytes | mmap.mmap, *, at_end: bool) -> tuple[int, str]:
    """Return the place of a blank seal's digits, and the digits that belong there."""
    place, found = _digest(content, at_end=at_end)
    if content[place : place + _DIGITS] != _ZEROS:
        raise RuntimeError(f"no blank seal at byte {place}")
    return place, found


def _digest(content: bytes | mmap.mmap, *, at_end: bool) -> tuple[int, str]:
    """Return the place of a seal's digits, and the digest of the content with zeros there."""
    mark = MARK.encode()
    start = content.rfind(mark) if at_end else content.find(mark)
    place = start + len(mark)
    if start < 0 or place + _DIGITS > len(content):
        raise ValueError("the digest of its content is missing")
    with memoryview(content) as view:
        digest = hashlib.sha256(view[:place])
        digest.update(_ZEROS)
        digest.update(view[place + _DIGITS :])
    return place, digest.hexdigest()
