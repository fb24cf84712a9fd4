"""``kedro verify``: is every artifact there, whole, as planned, and within its contract?"""

import sys
from typing import Any

import click

from rep_kedro.commands.command import ProjectCommand


@click.command(name="verify", cls=ProjectCommand)
@click.option("--env", "-e", default=None, help="Configuration environment.")
def command(env: str | None) -> None:
    """Check every artifact: present, whole, of the planned recipe, contract kept."""
    from rep_kedro.commands.explain import explain
    from rep_kedro.commands.project import open_catalog

    catalog, failed = open_catalog(env), 0
    for name in sorted(_made_by_pipelines()):
        try:
            told = _describe(catalog.load(name))
        except Exception as problem:
            failed += 1
            click.echo(f"{name}: {explain(problem) or problem}", err=True)
        else:
            click.echo(f"{name}: {told}")
    if failed:
        click.echo(f"error: {failed} artifacts are not as they should be", err=True)
        sys.exit(1)


def _made_by_pipelines() -> set[str]:
    from kedro.framework.project import pipelines

    return set(pipelines["__default__"].all_outputs())


def _describe(artifact: Any) -> str:
    kind = type(artifact).__name__
    unit = {"dict": "members", "DataFrame": "rows", "str": "characters"}.get(kind, kind)
    return f"{len(artifact)} {unit}" if hasattr(artifact, "__len__") else kind
