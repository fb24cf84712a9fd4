"""Identity of published weights: the digest of the file that a library keeps or would fetch.

A recipe must say the same before and after the file is fetched, and something else once another file is in
its place. What names its own digest (in its address, or on Hugging Face) is therefore asked for it while it
is not here.
"""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from hashlib import file_digest, sha256
from pathlib import Path

from rep_kedro.datasets.atomic import write_atomically
from rep_kedro.models.files import cache_folder

_IN_NAME = re.compile(r"-(?P<digest>[0-9a-f]{8,64})\.\w+$")
_IN_FOLDER = re.compile(r"/(?P<digest>[0-9a-f]{64})/[^/]+$")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SAFE_NAMES = {
    "pytorch_model.bin": "model.safetensors",
    "open_clip_pytorch_model.bin": "open_clip_model.safetensors",
}
_SETTLED_NS = 2_000_000_000  # a file that changed just now may change again within one tick of its clock
_ANSWER_S = 5


def checkpoint_folder() -> Path:
    """Return where torch keeps files that libraries fetched."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def digest_at_address(url: str, folder: Path) -> str | None:
    """Return the SHA-256 of what an address gives, or the part of it that the address itself states.

    Returns:
        What the address states as long as the file here agrees or is missing; else the digest of the file.
        None if neither is known.
    """
    found = _IN_FOLDER.search(url) or _IN_NAME.search(url)
    stated = found["digest"] if found else None
    path = folder / url.rpartition("/")[2]
    if not path.is_file():
        return stated
    digest = digest_file(path)
    return stated if stated and digest.startswith(stated) else digest


def digest_on_hub(repository: str, name: str) -> str | None:
    """Return the SHA-256 of a file of a Hugging Face repository, from the local cache or else from the hub.

    Args:
        repository: Owner and name, with `@<revision>` for another than the newest.
        name: Of the file; where there is one of the same weights as safetensors, libraries take that.

    Returns:
        None if the file is not local and the hub is unavailable.
    """
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = repository.partition("@")
    names = [name] if name.endswith(".safetensors") else [_safe_name(name), name]
    for each in names:
        path = try_to_load_from_cache(repository, each, revision=revision or None)
        if isinstance(path, str):
            return digest_file(Path(path))
    return next(filter(None, (_digest_stated_by_hub(repository, each, revision) for each in names)), None)


def digests_of_copy(folder: Path) -> dict[str, str]:
    """Return the digests of those weights in a local copy of a commit that are not what the commit says.

    The cache of Hugging Face names contents by their digest; a file that bears none, or a wrong one, was put
    there by somebody else.
    """
    digests = {path.name: (digest_file(path), path.resolve().name) for path in folder.glob("*.safetensors")}
    return {name: digest for name, (digest, stated) in sorted(digests.items()) if digest != stated}


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file; it is read again only if the file changed since."""
    real = path.resolve()
    status = real.stat()
    facts = [str(real), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    note = cache_folder().with_name("digests") / sha256(json.dumps(facts).encode()).hexdigest()
    try:
        known = note.read_text()
    except OSError:
        known = ""
    if _DIGEST.fullmatch(known):
        return known
    with real.open("rb") as stream:
        digest = file_digest(stream, "sha256").hexdigest()
    if time.time_ns() - status.st_ctime_ns > _SETTLED_NS:
        with suppress(OSError):  # a cache that cannot be written costs another reading
            write_atomically(note, partial(_write, digest))
    return digest


def _write(text: str, path: Path) -> None:
    path.write_text(text)


def _safe_name(name: str) -> str:
    return _SAFE_NAMES.get(name, f"{name.rpartition('.')[0]}.safetensors")


@cache
def _digest_stated_by_hub(repository: str, name: str, revision: str) -> str | None:
    if not _hub_answers():
        return None
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    try:
        address = hf_hub_url(repository, name, revision=revision or None)
        stated = get_hf_file_metadata(address, timeout=_ANSWER_S).etag
    except Exception:  # whatever the network raises: the digest is then not known
        return None
    return stated if stated and _DIGEST.fullmatch(stated) else None


@contextmanager
def hub_or_cache() -> Iterator[None]:
    """Let libraries look into the local cache alone where the hub does not answer; they try for a minute.

    Raises:
        ConnectionError: If the hub does not answer and a file is not in the cache.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or _hub_answers():
        yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    except OSError as error:
        raise ConnectionError(f"{constants.ENDPOINT} does not answer") from error
    finally:
        constants.HF_HUB_OFFLINE = False


@cache
def _hub_answers() -> bool:
    """Return whether the hub is allowed and answers within seconds; tried once per process."""
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return False
    from huggingface_hub import get_session

    try:
        get_session().head(ENDPOINT, timeout=_ANSWER_S)
    except Exception:
        return False
    return True
