"""``kedro measures``: the similarity measures in a table."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from rep_kedro.commands.command import ProjectCommand

if TYPE_CHECKING:
    from rep_kedro.measures import Invariance, Measure

ERROR_CONSISTENCY = "error consistency needs labels: it is a column of the table prediction_agreement"
OUTPUTS_LAYER = "; compares logits: name their layer with similarity.outputs_layer"
COLUMNS = ("id", "range", "direction", "stimuli", "inference", "unchanged", "title", "source")
LETTERS = "RSTLPCWAO"  # of the invariances, in their order


@click.command(name="measures", cls=ProjectCommand)
@click.option("--family", default=None, help="Only measures of this family.")
def command(family: str | None) -> None:
    """List the similarity measures: range, direction, fewest stimuli, inference, invariances, source."""
    from rep_kedro.measures import Invariance
    from rep_kedro.measures.listing import select_measures

    chosen = select_measures(family)
    letters = dict(zip(Invariance, LETTERS, strict=True))
    rows = [COLUMNS, *(_row(measure, letters) for measure in chosen)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())
    for line in _legend(chosen, letters):
        click.echo(line)
    click.echo(f"{len(chosen)} measures", err=True)


def _row(measure: "Measure", letters: "dict[Invariance, str]") -> tuple[str, ...]:
    low, high = measure.value_range
    direction = "similarity" if measure.larger_is_more_similar else "distance"
    return (
        measure.id,
        f"{low:g} to {high:g}",
        direction if measure.symmetric else f"{direction}, directed",
        str(measure.fewest_stimuli),
        "null, interval" if measure.has_interval else "null" if measure.inference else "",
        "".join(letters[i] if i in measure.invariances else "." for i in letters),
        measure.title,
        measure.source + (OUTPUTS_LAYER if measure.compares == "outputs" else ""),
    )


def _legend(chosen: "Sequence[Measure]", letters: "dict[Invariance, str]") -> list[str]:
    lines = ["", "directed: the value of row a and column b differs from that of row b and column a"]
    lines += ["stimuli: the fewest for which the measure is defined; more give more precise values"]
    if any(measure.fewest_stimuli.counts != "nothing" for measure in chosen):
        lines += [
            "  r_a, r_b: ranks of the centred features (their number if they are linearly independent)",
            "  c_a, c_b: numbers of components kept",
        ]
    shown = [
        f"  {letter}: {i.value}" for i, letter in letters.items() if any(i in m.invariances for m in chosen)
    ]
    lines += ["inference: whether a permutation null and a bootstrap interval over stimuli exist"]
    lines += ["unchanged by these transformations of one of the two networks", *shown]
    if any(measure.compares == "outputs" for measure in chosen):
        lines += [ERROR_CONSISTENCY]
    return lines
