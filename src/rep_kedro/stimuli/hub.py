"""Data sets of the Hugging Face hub, through the cache that its own client keeps.

What is in the cache is never fetched again, and a commit that is named in full asks nobody. Where
``HF_HUB_OFFLINE`` is set, or the hub cannot be reached, only the cache is used.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from rep_kedro.downloads import require_modest_snapshot
from rep_kedro.errors import UserError
from rep_kedro.stimuli.fingerprint import digest_files
from rep_kedro.stimuli.record import DamagedSourceError

_log = logging.getLogger(__name__)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIMEOUT_S = 15.0


@lru_cache(maxsize=256)
def resolve_commit(repo: str, revision: str) -> str:
    """Return the commit that a revision of a data set means, asked once in each process.

    Args:
        repo: Name on the hub, such as ``clip-benchmark/wds_vtab-cifar10``.
        revision: A branch, a tag, or 40 hexadecimal digits, which are returned as they are.

    Raises:
        DamagedSourceError: If there is no such repository or revision, or it is neither in the cache nor to
            be reached.
    """
    if _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    with _reasons(repo, revision):
        try:
            commit = HfApi().dataset_info(repo, revision=revision, timeout=_TIMEOUT_S).sha
        except Exception as problem:
            is_answer = isinstance(problem, HfHubHTTPError) and problem.response.status_code < 500
            commit = None if is_answer else _cached_commit(repo, revision)
            if commit is None:
                raise
            _log.warning(
                "revision %r of %s is taken from the cache, %s, for the hub cannot be asked",
                revision,
                repo,
                commit,
            )
    if commit is None:
        raise DamagedSourceError(f"the hub names no commit of {repo!r} for the revision {revision!r}")
    _remember_commit(repo, revision, commit)
    return commit


def fetch_snapshot(repo: str, commit: str, patterns: Sequence[str]) -> Path:
    """Return the folder with the files of a data set at a commit; those that the cache lacks are fetched.

    Args:
        repo: Name on the hub.
        commit: In full.
        patterns: Of the files that are needed, such as ``*.parquet``.

    Raises:
        DamagedSourceError: If the files are neither in the cache nor to be had.
    """
    from huggingface_hub import HfApi, constants, snapshot_download

    with _reasons(repo, commit):
        is_known = (_repository(repo) / "snapshots" / commit).is_dir()
        if not is_known and not constants.HF_HUB_OFFLINE:
            HfApi().dataset_info(
                repo, revision=commit, timeout=_TIMEOUT_S
            )  # fails at once; fetching tries long
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


def _repository(repo: str) -> Path:
    """Return the folder of a data set in the hub's cache."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="dataset")


def _cached_commit(repo: str, revision: str) -> str | None:
    """Return the commit that the cache knows for a branch or tag, if any."""
    named = _repository(repo) / "refs" / revision
    text = named.read_text(encoding="ascii").strip() if named.is_file() else ""
    return text if _COMMIT.fullmatch(text) else None


def _remember_commit(repo: str, revision: str, commit: str) -> None:
    """Write down in the cache what a branch or tag means, as the hub's client does that fetches by name."""
    from rep_kedro.datasets.atomic import write_bytes_atomically

    if _cached_commit(repo, revision) != commit:
        with suppress(OSError):
            write_bytes_atomically(_repository(repo) / "refs" / revision, commit.encode("ascii"))


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
