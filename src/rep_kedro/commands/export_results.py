"""``kedro export-results``: write networks, measures, probes and accuracies as a tree of plain files."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from rep_kedro.commands.command import ProjectCommand
from rep_kedro.errors import UserError

CONTENTS = "CONTENTS.json"
_READ = ("networks", "probes", "network_settings", "label_free_measures")


def _absolute(_: click.Context, __: click.Parameter, path: str) -> Path:
    """Return the folder as it is named where the command is called."""
    if not path.strip():
        raise UserError("FOLDER is empty; give the folder to write")
    return Path(os.path.abspath(path))  # `a/..` is what it names, not a folder below `a`


@click.command(name="export-results", cls=ProjectCommand)
@click.argument("folder", callback=_absolute)
@click.option("--env", "-e", default=None, help="Configuration environment.")
def command(folder: Path, env: str | None) -> None:
    """Write the results of pretraining to FOLDER, by method and settings.

    FOLDER must be absent, empty, or an earlier export, which is replaced once the new one is complete.
    """
    require_replaceable(folder)
    from rep_kedro.analyses.selection.result_tree import build_result_tree
    from rep_kedro.commands.project import open_catalog

    catalog = open_catalog(env)
    n_files = write_tree(folder, build_result_tree(*(_load(catalog, name) for name in _READ)))
    click.echo(f"{n_files} files in {folder}")


def _load(catalog: Any, name: str) -> Any:
    if name not in catalog:
        raise UserError(f"the catalog has no {name}, which results of pretraining need")
    return catalog.load(name)


def require_replaceable(folder: Path) -> None:
    """Refuse a folder that has anything but an earlier export in it.

    Raises:
        UserError: If it is a file or a link, or has content that no export wrote.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UserError(f"{folder} is a file or a link; give a folder that is absent or empty")
    if not folder.exists() or not any(folder.iterdir()):
        return
    written = set()
    with suppress(OSError, ValueError, TypeError, KeyError):
        written = set(json.loads((folder / CONTENTS).read_bytes())["files"])
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        is_own = path.is_dir() or name in written or (name == CONTENTS and written)
        if path.is_symlink() or not is_own:
            raise UserError(
                f"{folder} has other content, such as {name}; give a folder that is absent or empty"
            )


def write_tree(folder: Path, files: Iterable[tuple[str, bytes]]) -> int:
    """Write files and their digests into a folder, which takes its place when it is complete.

    Args:
        folder: Absent, empty, or an earlier export.
        files: Path below the folder, and content.

    Returns:
        The number of files.

    Raises:
        UserError: If a path leads out of the folder.
    """
    from rep_kedro.datasets.atomic import write_bytes_atomically

    partial, former = (folder.with_name(f".{folder.name}.{what}.partial") for what in ("export", "former"))
    digests = {}
    try:
        for each in (partial, former):  # what a killed export left
            shutil.rmtree(each, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, content in files:
            path = partial / name
            if not path.resolve().is_relative_to(partial.resolve()):
                raise UserError(f"{name} leads out of {folder}; rename the network or the stimulus set")
            write_bytes_atomically(path, content)
            digests[name] = hashlib.sha256(content).hexdigest()
        text = json.dumps({"files": digests}, indent=1, sort_keys=True)
        write_bytes_atomically(partial / CONTENTS, (text + "\n").encode())
        if folder.exists():
            folder.rename(former)
        partial.rename(folder)
    finally:
        if not folder.exists() and former.exists():
            former.rename(folder)
        for each in (partial, former):
            shutil.rmtree(each, ignore_errors=True)
    return len(digests) + 1
