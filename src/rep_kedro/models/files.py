"""Files of weights: local, or fetched once from a URL and checked by digest."""

import hashlib
import logging
import os
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from rep_kedro.datasets.atomic import write_atomically
from rep_kedro.downloads import MOST_BYTES
from rep_kedro.errors import MissingFileError, UserError
from rep_kedro.models.places import FilePlace
from rep_kedro.parameter_rules import expand_path

_BLOCK_BYTES = 1 << 20
_TIMEOUT_S = 30
"""Of one fetched file: a server that never ends must not fill the disk."""
_SHOWN_DIGITS = 12
_SHOWN_FILES = 5
_log = logging.getLogger(__name__)


def identify_file(place: FilePlace, kind: str) -> dict[str, Any]:
    """Return the digest of a file; one with an address need not be there yet.

    Args:
        place: Where the file is.
        kind: What messages call it, such as `checkpoint`.

    Raises:
        ValueError: If a local file is missing or of another digest than stated.
    """
    if place.url is not None:
        return {"sha256": place.sha256}
    path = _require_local(place, kind)
    found = _digest(path)
    if place.sha256 not in (None, found):
        raise UserError(_other_file(f"{kind} {place.path}", found, place))
    return {"sha256": found}


def require_file(place: FilePlace, kind: str) -> Path:
    """Return where the file is, fetched if it has an address and was not fetched before.

    Raises:
        ValueError: If it is missing, cannot be fetched, or is of another digest than stated.
    """
    if place.url is not None and place.sha256 is not None:
        return fetch_file(place.url, place.sha256, kind)
    path = _require_local(place, kind)
    if place.sha256 is not None:
        identify_file(place, kind)
    return path


def is_here(place: FilePlace) -> bool:
    """Return whether a file need not be fetched; a local one that is missing counts as here."""
    return place.url is None or place.sha256 is None or _copy_of(place.url, place.sha256).is_file()


def fetch_file(url: str, sha256: str, kind: str) -> Path:
    """Return the local copy of what an address gives; it is fetched unless a copy of this digest is there.

    Raises:
        ValueError: If it cannot be fetched, is too large or of another digest; nothing of it is kept then.
    """
    copy = _copy_of(url, sha256)
    if copy.is_file():
        if _digest(copy) == sha256:
            return copy
        _log.warning("%s differs from the file that was fetched before; fetching it again", copy)
    if _is_offline():
        raise UserError(
            f"{kind} {url} is not in the local cache, and HF_HUB_OFFLINE is set: unset it, or set path"
        )
    _log.info("fetching %s", url)
    try:
        write_atomically(copy, lambda partial: _download(url, sha256, kind, partial))
    except (URLError, HTTPException, TimeoutError, ConnectionError) as problem:
        if isinstance(problem, HTTPError):
            problem.close()
        cause = " ".join(str(problem).split())
        raise UserError(
            f"{kind} {url} cannot be fetched: {cause};"
            " try again while online, or fetch it by hand and set path"
        ) from problem
    return copy


def cache_folder() -> Path:
    """Return where fetched files are kept: where REP_KEDRO_CACHE says, else in the user's cache."""
    folder = os.environ.get("REP_KEDRO_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return (Path(folder) if folder else Path(base) / "rep_kedro") / "weights"


def _copy_of(url: str, sha256: str) -> Path:
    return cache_folder() / sha256[:_SHOWN_DIGITS] / url.rpartition("/")[2]


def _download(url: str, sha256: str, kind: str, partial: Path) -> None:
    digest, n_bytes = hashlib.sha256(), 0
    request = Request(url, headers={"User-Agent": "rep_kedro"})  # noqa: S310 - entries allow http and https alone
    with urlopen(request, timeout=_TIMEOUT_S) as answer, partial.open("wb") as stream:  # noqa: S310
        _require_size(int(answer.headers.get("Content-Length") or 0), kind, url)
        while block := answer.read(_BLOCK_BYTES):
            _require_size(n_bytes + len(block), kind, url)
            digest.update(block)
            n_bytes += stream.write(block)
    if digest.hexdigest() != sha256:
        place = FilePlace(url=url, sha256=sha256)
        raise UserError(
            f"{_other_file(f'{kind} {url}', digest.hexdigest(), place)} ({n_bytes} bytes received)"
        )


def _require_size(n_bytes: int, kind: str, url: str) -> None:
    if n_bytes > MOST_BYTES:
        raise UserError(
            f"{kind} {url} is larger than {MOST_BYTES} bytes and is not fetched;"
            " if it is the right file, fetch it by hand and set path"
        )


def _other_file(name: str, found: str, place: FilePlace) -> str:
    shown = [f"{digits[:_SHOWN_DIGITS]}..." for digits in (found, str(place.sha256))]
    return f"{name} has sha256 {shown[0]}, but the entry gives {shown[1]}; it is not read"


def _require_local(place: FilePlace, kind: str) -> Path:
    path = expand_path(str(place.path), f"{kind} {place.path}")
    if path.is_dir():
        files = sorted(file.name for file in path.iterdir() if file.is_file())[:_SHOWN_FILES]
        raise UserError(f"{kind} {place.path} is a folder; name a file ({', '.join(files) or 'it has none'})")
    if not path.is_file():
        raise MissingFileError(f"{kind} {place.path} does not exist (looked from {Path.cwd()})")
    if not os.access(path, os.R_OK):
        raise UserError(f"{kind} {place.path} is not readable by this user; change its permissions")
    return path


def _digest(path: Path) -> str:
    stream: BinaryIO
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as problem:
        raise UserError(f"{path} cannot be read: {problem.strerror or problem}") from problem


def _is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
