"""``kedro prune``: remove members that are no longer planned."""

from pathlib import Path

import click

from rep_kedro.commands.command import ProjectCommand


@click.command(name="prune", cls=ProjectCommand)
@click.option("--env", "-e", default=None, help="Configuration environment.")
@click.option("--yes", is_flag=True, help="Remove the members; without this option, only list them.")
def command(env: str | None, yes: bool) -> None:
    """List members of collections that are no longer planned; remove them with --yes."""
    from kedro.framework.project import pipelines

    from rep_kedro.commands.project import open_catalog
    from rep_kedro.datasets import CollectionDataset
    from rep_kedro.datasets.work import format_bytes

    catalog, n_bytes, n_files = open_catalog(env), 0, 0
    for name in sorted(pipelines["__default__"].all_outputs()):
        dataset = catalog.get(name)
        if not isinstance(dataset, CollectionDataset) or not dataset.folder.exists():
            continue
        for path in dataset.unplanned():
            n_bytes, n_files = n_bytes + path.stat().st_size, n_files + 1
            click.echo(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))
            if yes:
                path.unlink()
    if not n_files:
        click.echo("nothing to remove: every member is planned", err=True)
        return
    ending = "removed" if yes else "kept; --yes removes them"
    click.echo(f"{n_files} members that are not planned, {format_bytes(n_bytes)}: {ending}", err=True)
