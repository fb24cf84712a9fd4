"""Results of an earlier revision, read through DVC without a checkout."""

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Any

from kedro.io import DatasetError

_PREFIX = "dvc://"


def is_earlier(filepath: str) -> bool:
    """Return whether a path points into DVC's history."""
    return filepath.startswith(_PREFIX)


def fetch_earlier(filepath: str, fs_args: dict[str, Any]) -> Path:
    """Copy a file or folder of an earlier revision to a temporary folder and return its path.

    Args:
        filepath: ``dvc:///<path within the repository>``.
        fs_args: ``url`` of the repository (``.`` by default) and ``rev``: a tag, branch or commit.

    Raises:
        DatasetError: If the revision or the file within it is not available.
    """
    inside = filepath.removeprefix(_PREFIX).lstrip("/")
    revision = fs_args.get("rev")
    try:
        from dvc.api import DVCFileSystem

        files = DVCFileSystem(url=str(Path(fs_args.get("url") or ".").resolve()), rev=revision)
        folder = Path(tempfile.mkdtemp(prefix="rep_kedro-earlier-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        target = folder / Path(inside).name
        files.get(inside, str(target), recursive=files.isdir(inside))
    except Exception as problem:
        raise DatasetError(
            f"cannot read {inside} at revision {revision!r}: {' '.join(str(problem).split())}; "
            "give a tag, branch or commit at which it was stored; run dvc fetch if its store is remote"
        ) from problem
    return target
