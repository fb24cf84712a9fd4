"""Files of weights: here, or fetched once from an address, and never another than the one that is meant."""

import hashlib
import logging
import os
import re
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from rep_kedro.datasets.atomic import write_atomically
from rep_kedro.errors import UserError
from rep_kedro.models.sources.specs import FilePlace

if TYPE_CHECKING:
    from torch import Tensor

_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
_BLOCK_BYTES = 1 << 20
_TIMEOUT_S = 30
MOST_BYTES = 20_000_000_000
"""Of one fetched file: a server that never ends must not fill the disk."""
_SHOWN_DIGITS = 12
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


def fetch_file(url: str, sha256: str, kind: str) -> Path:
    """Return the local copy of what an address gives; it is fetched unless a copy of this digest is there.

    Raises:
        ValueError: If it cannot be fetched, is too large or of another digest; nothing of it is kept then.
    """
    copy = cache_folder() / sha256[:_SHOWN_DIGITS] / url.rpartition("/")[2]
    if copy.is_file():
        if _digest(copy) == sha256:
            return copy
        _log.warning("%s is not what was fetched once; fetching it again", copy)
    if _is_offline():
        raise UserError(
            f"{kind} {url} was not fetched before, and HF_HUB_OFFLINE is set: unset it, or give path instead"
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
            " try again with a network, or fetch it by hand and give path"
        ) from problem
    return copy


def read_tensors(place: FilePlace, kind: str) -> "dict[str, Tensor]":
    """Read a `.safetensors` file, fetched if it has an address.

    Raises:
        ValueError: If it is missing, cannot be fetched, is of another digest than stated, or is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = require_file(place, kind)
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as problem:
        cause = " ".join(str(problem).split()).removeprefix("Error while deserializing header: ")
        raise UserError(
            f"{kind} {place.path or place.url} is damaged or no safetensors file"
            f" ({path.stat().st_size} bytes: {cause}); copy or fetch it again"
        ) from problem


def cache_folder() -> Path:
    """Return where fetched files are kept: where REP_KEDRO_CACHE says, else in the user's cache."""
    folder = os.environ.get("REP_KEDRO_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return (Path(folder) if folder else Path(base) / "rep_kedro") / "weights"


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
        raise UserError(f"{_other_file(f'{kind} {url}', digest.hexdigest(), place)} ({n_bytes} bytes came)")


def _require_size(n_bytes: int, kind: str, url: str) -> None:
    if n_bytes > MOST_BYTES:
        raise UserError(
            f"{kind} {url} is larger than {MOST_BYTES} bytes and is not fetched;"
            " if it is the file that is meant, fetch it by hand and give path"
        )


def _other_file(name: str, found: str, place: FilePlace) -> str:
    shown = [f"{digits[:_SHOWN_DIGITS]}..." for digits in (found, str(place.sha256))]
    return f"{name} has sha256 {shown[0]} where the entry says {shown[1]}; it is not read"


def _require_local(place: FilePlace, kind: str) -> Path:
    path = Path(os.path.expandvars(str(place.path))).expanduser()
    if unset := _VARIABLE.search(str(path)):
        raise UserError(f"{kind} {place.path} names the environment variable {unset[1]}, which is not set")
    if not path.is_file():
        raise UserError(f"{kind} {place.path} does not exist (looked from {Path.cwd()})")
    return path


def _digest(path: Path) -> str:
    stream: BinaryIO
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
