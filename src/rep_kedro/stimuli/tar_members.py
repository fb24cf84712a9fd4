"""Members of tar files, one after another; nothing is unpacked to disk or passed over unnamed."""

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from rep_kedro.stimuli.archive import BROKEN, CappedStream, open_archive, require_forward
from rep_kedro.stimuli.limits import Limits, TooLargeError
from rep_kedro.stimuli.record import DamageLog
from rep_kedro.stimuli.walking import DEBRIS

_BLOCK_BYTES = 512
_END_BLOCKS = 2  # of zeros end an archive
_RECORD_BYTES = 10_240  # to a multiple of which archives are filled up with zeros
_READ_BYTES = 1 << 20
_TAR = re.compile(r"(?i)(.+?)\.(tar|tar\.gz|tgz|tar\.bz2|tbz2?|tar\.xz|txz)")


def tar_stem(name: str) -> str | None:
    """Return a tar file's name without its ending; None for other files.

    Example:
        >>> tar_stem("0.tar"), tar_stem("part.v2.TGZ"), tar_stem("0.zip")
        ('0', 'part.v2', None)
    """
    matched = _TAR.fullmatch(name)
    return matched[1] if matched else None


def read_members(shard: Path, name: str, limits: Limits, log: DamageLog) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file of a tar file, also where it holds several archives end to end.

    Args:
        shard: The file, plain or compressed (gzip, bzip2, xz).
        name: By which the log knows it.
        limits: Of the memory that a member may take.
        log: Takes what cannot be used: links, paths that lead out, a truncated or damaged archive. Hidden
            members go to ``ignored``.
    """
    try:
        with open_archive(shard, limits) as (first, stream):
            archive: tarfile.TarFile | None = first
            while archive is not None:
                for member in archive:
                    content = _read_member(stream, member, name, log)
                    if content is not None:
                        yield str(PurePosixPath(member.name)), content
                    archive.members = []  # type: ignore[attr-defined]  # it would keep every header
                archive = _next_archive(stream, archive.offset)
    except BROKEN as problem:
        log.add(name, f"truncated or damaged archive: {problem}")


def _read_member(stream: CappedStream, member: tarfile.TarInfo, name: str, log: DamageLog) -> bytes | None:
    require_forward(member)
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:|.*\\", member.name):
        log.add(f"{name}:{member.name}", "a path that leads out of the archive")
    elif member.isdir():
        pass
    elif not member.isreg():
        log.add(f"{name}:{member.name}", "a link or device, not a file")
    elif member.issparse():
        log.add(f"{name}:{member.name}", "a sparse file, which is not read; store it plain")
    elif any(part.startswith(".") or part.lower() in DEBRIS for part in path.parts):
        log.ignore(f"{name}:{member.name}")
    else:
        try:
            return stream.read_content(member)
        except TooLargeError as problem:
            log.add(f"{name}:{member.name}", str(problem))
    return None


def _next_archive(file: CappedStream, end: int) -> tarfile.TarFile | None:
    """Return the archive behind the end mark of another one; None where only zeros follow.

    Raises:
        tarfile.ReadError: If the end mark is missing, which the library takes any zeroed header for, if more
            zeros follow than end an archive, or what follows is not an archive.
    """
    file.seek(end)
    n_zeros = 0
    while block := file.read(_READ_BYTES):
        rest = block.lstrip(b"\0")
        n_zeros += len(block) - len(rest)
        if rest:
            break
    else:
        if n_zeros < _BLOCK_BYTES:
            raise tarfile.ReadError("no end mark")
        _require_no_gap(n_zeros, end)
        return None
    _require_no_gap(n_zeros, end)
    n_blocks = n_zeros // _BLOCK_BYTES
    if n_blocks < _END_BLOCKS:
        raise tarfile.ReadError(f"no header and no end mark at byte {end}; what follows is not read")
    file.seek(end + n_blocks * _BLOCK_BYTES)
    return tarfile.TarFile(fileobj=file, mode="r")


def _require_no_gap(n_zeros: int, end: int) -> None:
    if n_zeros >= _END_BLOCKS * _BLOCK_BYTES + _RECORD_BYTES:
        raise tarfile.ReadError(
            f"{n_zeros:,} bytes of zeros from byte {end:,} on, more than end an archive: members are missing"
        )
