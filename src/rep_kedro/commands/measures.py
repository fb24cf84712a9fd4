"""``kedro measures``: the similarity measures in a table."""

import click

from rep_kedro.commands.command import ProjectCommand

ERROR_CONSISTENCY = "error consistency needs labels: it is a column of the table prediction_agreement"


@click.command(name="measures", cls=ProjectCommand)
@click.option("--family", default=None, help="Only measures of this family.")
def command(family: str | None) -> None:
    """List the similarity measures: id, what it is, range, direction, invariances, source."""
    from rep_kedro.measures import MEASURES

    families = sorted({measure.family.name.lower() for measure in MEASURES.values()})
    if family is not None and family.lower() not in families:
        raise click.ClickException(f"unknown family {family!r}; known: {', '.join(families)}")
    chosen = [m for m in MEASURES.values() if family is None or m.family.name.lower() == family.lower()]
    width = max(len(measure.id) for measure in chosen)
    for measure in chosen:
        low, high = measure.value_range
        direction = "similarity" if measure.larger_is_more_similar else "distance"
        directed = "" if measure.symmetric else ", directed"
        click.echo(f"{measure.id:<{width}}  {measure.title} ({direction}{directed}, {low:g} to {high:g})")
        unchanged = ", ".join(sorted(invariance.value for invariance in measure.invariances)) or "nothing"
        click.echo(f"{'':<{width}}  unchanged by: {unchanged}")
        click.echo(f"{'':<{width}}  {measure.source}")
        if measure.compares == "outputs":
            click.echo(f"{'':<{width}}  compares logits: name their layer with similarity.outputs_layer")
    if any(measure.compares == "outputs" for measure in chosen):
        click.echo(ERROR_CONSISTENCY)
    click.echo(f"{len(chosen)} measures", err=True)
