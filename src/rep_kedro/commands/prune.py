"""``kedro prune``: removes members that are no longer planned."""

import click

from rep_kedro.commands.command import ProjectCommand


@click.command(name="prune", cls=ProjectCommand)
@click.option("--env", "-e", default=None, help="Configuration environment.")
@click.option("--yes", is_flag=True, help="Remove; without it, only list.")
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
            click.echo(str(path))
            if yes:
                path.unlink()
    ending = "removed" if yes else "would be removed with --yes"
    click.echo(f"{n_files} members, {format_bytes(n_bytes)}, {ending}", err=True)
