"""Data sets of the Hugging Face hub, through the cache that its own client keeps.

What is in the cache is never fetched again, and a full commit needs no request. Where
``HF_HUB_OFFLINE`` is set, or the hub cannot be reached, only the cache is used.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from rep_kedro.downloads import require_modest_snapshot
from rep_kedro.errors import UserError
from rep_kedro.stimuli.fingerprint import digest_files
from rep_kedro.stimuli.record import DamagedSourceError

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIMEOUT_S = 15.0


@lru_cache(maxsize=256)
def resolve_commit(repo: str, revision: str) -> str:
    """Return the commit of a revision of a data set; at most one request per process.

    Args:
        repo: Name on the hub, such as ``clip-benchmark/wds_vtab-cifar10``.
        revision: A branch, a tag, or 40 hexadecimal digits, which are returned as they are.

    Raises:
        DamagedSourceError: If there is no such repository or revision, or it is in neither cache nor hub.
    """
    from huggingface_hub import snapshot_download

    if _COMMIT.fullmatch(revision):
        return revision
    with _reasons(repo, revision):
        # The folder is named after the commit; the client keeps in its cache what the revision means.
        return Path(
            snapshot_download(repo, repo_type="dataset", revision=revision, allow_patterns=["README.md"])
        ).name


def fetch_snapshot(repo: str, commit: str, patterns: Sequence[str]) -> Path:
    """Return the folder with the files of a data set at a commit; those that the cache lacks are fetched.

    Args:
        repo: Name on the hub.
        commit: In full.
        patterns: Of the files that are needed, such as ``*.parquet``.

    Raises:
        DamagedSourceError: If neither the cache nor the hub gives the files.
        UserError: If they are larger than what is fetched at once.
    """
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="dataset")
    with _reasons(repo, commit):
        if not (folder / "snapshots" / commit).is_dir() and not constants.HF_HUB_OFFLINE:
            HfApi().dataset_info(repo, revision=commit, timeout=_TIMEOUT_S)  # fetching tries for a minute
        require_modest_snapshot(repo, repo_type="dataset", revision=commit, patterns=patterns)
        return Path(
            snapshot_download(
                repo, repo_type="dataset", revision=commit, allow_patterns=list(patterns), max_workers=4
            )
        )


def require_intact(files: Sequence[Path]) -> None:
    """Compare the content of cached files with their SHA-256, which the hub's cache has for a name.

    Small files that the hub keeps in git itself have no such name and are not compared.

    Raises:
        DamagedSourceError: Names the first file that differs.
    """
    large = [file for file in files if _SHA256.fullmatch(file.resolve().name)]
    for file, digest in zip(large, digest_files(large), strict=True):
        if digest != file.resolve().name:
            raise DamagedSourceError(
                f"{file.name} in the cache of the hub is not what the hub holds; remove {file.resolve()} and"
                " fetch it again"
            )


@contextmanager
def _reasons(repo: str, revision: str) -> Iterator[None]:
    """Turn what the hub's client raises into one line that says what to do."""
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    place = f"data set {repo!r} of the Hugging Face hub"
    command = f"hf download --repo-type dataset {repo} --revision {revision}"
    try:
        yield
    except UserError:
        raise
    except RevisionNotFoundError as problem:
        raise DamagedSourceError(f"{place} has no revision {revision!r}") from problem
    except GatedRepoError as problem:
        raise DamagedSourceError(
            f"{place} is gated: accept its terms there and set HF_TOKEN, or fetch it with: {command}"
        ) from problem
    except RepositoryNotFoundError as problem:
        raise DamagedSourceError(
            f"{constants.ENDPOINT} has no {place}, or it is private: check the name, or set HF_TOKEN"
        ) from problem
    except Exception as problem:
        missing = f"{place} at {revision} is not, or not in full, in the cache {constants.HF_HUB_CACHE}"
        if constants.HF_HUB_OFFLINE:
            why = "HF_HUB_OFFLINE forbids fetching it"
        else:
            why = f"it cannot be fetched from {constants.ENDPOINT} ({_cause_of(problem)})"
        raise DamagedSourceError(
            f"{missing}, and {why}; where there is a network, run: {command}"
        ) from problem


def _cause_of(problem: BaseException) -> str:
    """Return the innermost cause in one line."""
    while problem.__cause__ is not None:
        problem = problem.__cause__
    return f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"
