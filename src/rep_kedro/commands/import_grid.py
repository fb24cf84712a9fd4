"""``kedro import-grid``: a grid of trainings from the JSON of phd-lab, as YAML."""

import json
from pathlib import Path
from typing import Any

import click

from rep_kedro.commands.command import ProjectCommand

_LARGEST_FILE_BYTES = 1_000_000


@click.command(name="import-grid", cls=ProjectCommand)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def command(file: Path) -> None:
    """Print the grid of a JSON configuration of phd-lab as YAML; name what it cannot honour."""
    import yaml

    from rep_kedro.errors import UserError
    from rep_kedro.training.published_grids import read_published_grid

    size = file.stat().st_size
    if size > _LARGEST_FILE_BYTES:
        raise UserError(f"{file} has {size:,} bytes, a grid at most {_LARGEST_FILE_BYTES:,}")
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"), object_pairs_hook=_each_key_once)
    except UserError as problem:
        raise UserError(f"{file}: {problem}") from problem
    except (UnicodeDecodeError, ValueError) as problem:
        raise UserError(f"{file} is not a JSON file: {problem}") from problem
    except RecursionError as problem:
        raise UserError(f"{file} is nested too deeply for a grid") from problem
    try:
        read = read_published_grid(content)
    except UserError as problem:
        raise UserError(f"{file}: {problem}") from problem
    text = yaml.safe_dump({"training": {"grids": [read.grid]}}, sort_keys=False, default_flow_style=None)
    click.echo(text, nl=False)
    for line in read.left_out:
        click.echo(f"not honoured: {line}", err=True)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; json itself silently takes the last of equal keys."""
    from rep_kedro.errors import UserError

    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        doubled = next(key for key in keys if keys.count(key) > 1)
        raise UserError(f"key {doubled!r} is there twice")
    return found
