"""How much the project downloads by itself at once; more is for the user to download."""

import logging
from collections.abc import Sequence

from rep_kedro.errors import UserError

MOST_BYTES = 20_000_000_000
_log = logging.getLogger(__name__)


def require_modest_snapshot(repo: str, *, repo_type: str, revision: str, patterns: Sequence[str]) -> None:
    """Ask the hub how large the files are that a local copy of a repository lacks; fetch none.

    Args:
        repo: Owner and name.
        repo_type: `model` or `dataset`.
        revision: Commit in full.
        patterns: Of the files that are wanted.

    Raises:
        UserError: If they are larger than what is fetched at once; says how to fetch them by hand.
    """
    from huggingface_hub import constants, snapshot_download

    if constants.HF_HUB_OFFLINE:
        return  # nothing is fetched
    try:
        files = snapshot_download(
            repo, repo_type=repo_type, revision=revision, allow_patterns=list(patterns), dry_run=True
        )
    except Exception as problem:  # the client raises errors of several libraries
        _log.debug("the hub cannot be asked for sizes; fetching takes the cache, or says why: %s", problem)
        return
    n_bytes = sum(file.file_size or 0 for file in files if file.will_download)
    if n_bytes > MOST_BYTES:
        raise UserError(
            f"{repo_type} {repo!r} of the hub has {n_bytes:,} bytes to fetch, the limit is {MOST_BYTES:,}; if"
            f" meant, run: hf download --repo-type {repo_type} {repo} --revision {revision}"
        )
