"""Options of a run that are not parameters (shard, recompute, compare_with, keep_going), and ``threads``."""

import os
import subprocess
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rep_kedro.errors import UserError, suggest

RUN_OPTIONS = ("shard", "recompute", "compare_with", "keep_going")
_DEVICES = ("cpu", "cuda", "mps")
_IN_DOUBLE = ("similarity", "stitching")


def require_options(given: Mapping[str, Any], root: Path) -> None:
    """Check the options of a run as far as they do not depend on what runs.

    Raises:
        ValueError: If the shard is malformed, or the revision to compare with is unknown.
    """
    from rep_kedro.datasets import Shard

    if given.get("shard") is not None:
        Shard.parse(str(given["shard"]))
    if given.get("compare_with") is not None:
        require_revision(str(given["compare_with"]), root)


def require_threads(n_threads: object) -> None:
    """Check the number of threads.

    Raises:
        ValueError: If it is not a positive integer or null.
    """
    if n_threads is not None and (type(n_threads) is not int or n_threads < 1):
        raise UserError(f"parameter threads must be a positive integer or null, got {n_threads!r}")


def require_temporary_folder(folder: str | None) -> None:
    """Check the folder for temporary files that the environment names; Python would silently take another.

    Args:
        folder: Value of ``TMPDIR``; none and an empty one leave the choice to the system.

    Raises:
        ValueError: If it is not a folder in which files can be made.
    """
    if folder and not (os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)):
        raise UserError(
            f"the environment variable TMPDIR names {folder!r}, which is not a folder that can be written;"
            " make it, or unset TMPDIR"
        )


def require_devices(parameters: Mapping[str, Any]) -> None:
    """Check each parameter ``device`` that one level of the parameters has.

    Raises:
        ValueError: If it names an unknown device, one that this machine does not have, or one without the
            required precision.
    """
    for name, group in parameters.items():
        device = group.get("device") if isinstance(group, Mapping) else None
        if isinstance(device, str) and isinstance(n := group.get("devices"), int) and n > 1:
            _require_several(f"parameter {name}.devices", device, n)
        if isinstance(device, str) and device not in ("auto", "cpu"):
            _require_device(f"parameter {name}.device", device)
            if device.startswith("mps") and name in _IN_DOUBLE:
                raise UserError(
                    f"parameter {name}.device: {name} computes in double precision, which {device!r} does not"
                    " support; use cpu"
                )


def _require_device(place: str, device: str) -> None:
    kind, _, index = device.partition(":")
    if kind not in _DEVICES or (index and not index.isdigit()):
        raise UserError(f"{place}: unknown device {device!r}; {suggest(kind, _DEVICES)}")
    if kind == "cpu":
        return
    import torch

    there = torch.cuda.device_count() if kind == "cuda" else int(torch.backends.mps.is_available())
    if int(index or 0) >= there:
        raise UserError(
            f"{place}: this machine has {there} devices of kind {kind!r}, got {device!r}; use cpu"
        )


def _require_several(place: str, kind: str, n: int) -> None:
    """Refuse more devices than there are; `kind` has no index then."""
    there = os.cpu_count() or 1
    if kind != "cpu":
        import torch

        if kind != "cuda":
            raise UserError(f"{place}: several devices are of kind cpu or cuda, got {n} of {kind!r}")
        there = torch.cuda.device_count()
    if n > there:
        raise UserError(f"{place}: this machine has {there} devices of kind {kind!r}, got {n}; lower it")


def require_recompute(wanted: str, made: Iterable[str], collections: Iterable[str]) -> None:
    """Check that each name to recompute is of a collection that this run makes.

    Args:
        wanted: Names of collections, or ``<collection>/<key>`` with wildcards, with ``+`` between them.
        made: Collections that this run makes.
        collections: All collections.

    Raises:
        ValueError: If a name matches none; the message has close matches.
    """
    made, collections = sorted(made), sorted(collections)
    for pattern in wanted.replace("+", " ").split():
        collection = pattern.partition("/")[0]
        matched = [name for name in collections if fnmatchcase(name, collection)]
        if not matched:
            raise UserError(
                f"recompute: {pattern!r} is not a collection; {suggest(collection, collections)}"
                " (delete the file of a table or of the report to make it again)"
            )
        if not set(matched) & set(made):
            raise UserError(
                f"recompute {pattern!r} has no effect: this run makes {', '.join(made) or 'no collection'}"
            )


def require_revision(revision: str, root: Path) -> None:
    """Check that a revision is known to git.

    Raises:
        ValueError: If it is not; the message has close matches.
    """
    try:
        if _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"):
            return
        known = _git(root, "for-each-ref", "--format=%(refname:short)", "refs/tags", "refs/heads").split()
        inside = bool(_git(root, "rev-parse", "--git-dir"))
    except OSError:
        return  # no git: DVC reports it
    if not inside:
        raise UserError(
            f"compare_with {revision!r} needs the project's git history, but {root} is not a git repository"
        )
    hint = suggest(revision, known)
    raise UserError(f"compare_with: {revision!r} is not a tag, branch or commit; {hint}")


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
