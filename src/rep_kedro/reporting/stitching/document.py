"""The report of one stitch: its matrices, and how it does, on two pages."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from rep_kedro.reporting.style import INK, MUTED, styled

PAGE_IN = (8.27, 11.69)  # A4
_LEFT, _BOTTOM, _TOP, _LINE_HEIGHT = 0.06, 0.03, 0.97, 0.0145  # shares of the page
_TITLE_CHARS = 84
_MOST_LINES, _LINE_CHARS = 34, 124
_ACCURACIES = {
    "front_accuracy": "front network alone",
    "end_accuracy": "end network alone",
    "stitched_accuracy": "stitched network",
}
_MEASURES = (
    *("relative_accuracy", "low", "high", "mean_average_precision", "end_mean_average_precision"),
    *("relative_mean_average_precision", "agreement", "cross_entropy", "class_averaged_cross_entropy"),
    *("kl_divergence", "js_divergence", "cka_before", "cka", "joint_l2_before", "joint_l2"),
    *("logit_cka_before", "logit_cka", "logit_l2_before", "logit_l2", "mahalanobis", "map_r2", "weight_rank"),
    *("nonzero_fraction", "n_both_right", "n_stitched_right", "n_end_right", "n_both_wrong"),
    *("final_loss", "n_steps"),
)


class StitchFacts(NamedTuple):
    """What the report of one stitch shows.

    Attributes:
        title: Networks, layers, map and seed.
        matrices: Weights by what they are, (n_end, n_front); masks are boolean.
        row: Row of results of the stitch.
        baseline: That of the least-squares map of the same layers, where there is one.
        losses: What the training minimised, by step; empty for a map that is not trained.
        histories: Test accuracy by epoch of the networks that were trained here, by name.
        recipe: What the stitch depends on.
        command: The command that makes it again.
    """

    title: str
    matrices: Mapping[str, "np.ndarray[Any, Any]"]
    row: Mapping[str, Any]
    baseline: Mapping[str, Any]
    losses: "np.ndarray[Any, Any]"
    histories: Mapping[str, Sequence[tuple[int, float]]]
    recipe: Mapping[str, Any]
    command: str


def draw_report(facts: StitchFacts) -> list[Figure]:
    """Return the pages: matrices on their own and on a common scale; table, curves, recipe and command."""
    return [_draw_matrices(facts), _draw_numbers(facts)]


@styled
def _draw_matrices(facts: StitchFacts) -> Figure:
    figure = _start_page(
        f"{facts.title}\nweights of the map: rows are channels of the end, columns of the front"
    )
    names = list(facts.matrices)
    panels = figure.subplots(len(names), 2, squeeze=False)
    for (own, common), name in zip(panels, names, strict=True):
        matrix = facts.matrices[name]
        if matrix.dtype == bool:
            _show(own, matrix, f"{name}: black entries are 0", "gray", 0.0, 1.0)
            common.axis("off")
            continue
        largest = float(np.abs(matrix).max()) or 1.0
        _show(own, matrix, f"{name}, own scale", "RdBu", -largest, largest)
        _show(common, matrix, f"{name}, −1 to 1", "RdBu", -1.0, 1.0)
    return figure


def _start_page(title: str) -> Figure:
    lines = [line for part in title.splitlines() for line in _wrapped(part, _TITLE_CHARS)]
    height = _TOP - _BOTTOM - (1 + len(lines)) * _LINE_HEIGHT
    layout = ConstrainedLayoutEngine(rect=(_LEFT, _BOTTOM, 1 - 2 * _LEFT, height))
    figure = Figure(figsize=PAGE_IN, layout=layout)
    figure.suptitle("\n".join(lines), fontsize=9.5, y=_TOP, va="top")
    return figure


def _show(axes: Axes, matrix: Any, title: str, colours: str, low: float, high: float) -> None:
    image = axes.imshow(matrix, cmap=colours, vmin=low, vmax=high, interpolation="nearest", aspect="auto")
    axes.grid(visible=False)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=6)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator("auto", integer=True))
    if matrix.dtype != bool:
        scale = axes.inset_axes((1.02, 0.0, 0.03, 1.0))  # exactly as high as the matrix, whatever its form
        axes.get_figure().colorbar(image, cax=scale).ax.tick_params(labelsize=6)  # type: ignore[union-attr]


@styled
def _draw_numbers(facts: StitchFacts) -> Figure:
    figure = _start_page(facts.title)
    grid = figure.add_gridspec(4, 2, height_ratios=[1.0, 3.1, 2.2, 4.2])
    _draw_accuracies(figure.add_subplot(grid[0, :]), facts)
    for column in range(2):
        _draw_table(figure.add_subplot(grid[1, column]), facts, column)
    _draw_donors(figure.add_subplot(grid[2, 0]), facts.histories)
    _draw_losses(figure.add_subplot(grid[2, 1]), facts.losses)
    text = figure.add_subplot(grid[3, :])
    text.axis("off")
    text.text(0, 1, _written(facts), va="top", family="monospace", fontsize=6.2, color=INK)
    return figure


def _draw_accuracies(axes: Axes, facts: StitchFacts) -> None:
    rows = [[words, _number(facts.row.get(name))] for name, words in _ACCURACIES.items()]
    if facts.baseline:
        rows.append(["least-squares map", _number(facts.baseline.get("stitched_accuracy"))])
    _table(axes, rows, ["network", f"accuracy on {facts.row['n_test']:,} test images"])


def _draw_table(axes: Axes, facts: StitchFacts, column: int) -> None:
    names = [name for name in _MEASURES if facts.row.get(name) is not None]
    per_column = -(-len(names) // 2)
    names = names[column * per_column : (column + 1) * per_column]
    baseline = facts.baseline
    rows = [[x.replace("_", " "), _number(facts.row[x]), _number(baseline.get(x))] for x in names]
    _table(axes, rows, ["measure", "this map", "least squares"])


def _table(axes: Axes, rows: Sequence[Sequence[str]], heads: Sequence[str]) -> None:
    axes.axis("off")
    if not rows:
        return
    table = axes.table(cellText=[list(row) for row in rows], colLabels=list(heads), loc="upper center")
    table.auto_set_font_size(False)
    table.set_fontsize(7)
    for cell in table.get_celld().values():
        cell.set_linewidth(0.3)
    table.auto_set_column_width(list(range(len(heads))))


def _draw_donors(axes: Axes, histories: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    axes.set_title("training of the networks: test accuracy", fontsize=9)
    for name, points in histories.items():
        axes.plot([epoch for epoch, _ in points], [value for _, value in points], linewidth=1.2, label=name)
    if histories:
        axes.set_xlabel("epoch", fontsize=8)
        axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(0.0, -0.2), borderaxespad=0.0)
    else:
        _note(axes, "they were not trained here")


def _draw_losses(axes: Axes, losses: Any) -> None:
    axes.set_title("training of the map: what it minimises", fontsize=9)
    if not len(losses):
        _note(axes, "the map is not trained")
        return
    axes.plot(np.arange(len(losses)), losses, linewidth=0.8, color=INK)
    axes.set_xlabel("step", fontsize=8)


def _note(axes: Axes, words: str) -> None:
    axes.text(0.5, 0.5, words, ha="center", va="center", color=MUTED, fontsize=8, transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])


def _written(facts: StitchFacts) -> str:
    lines = [*_wrapped(facts.command, _LINE_CHARS), ""]
    for name, value in facts.recipe.items():
        lines += _wrapped(f"{name}: {json.dumps(value, sort_keys=True, ensure_ascii=False)}", _LINE_CHARS)
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"... and {len(lines) - _MOST_LINES} lines more, in the file's header"]
    return "\n".join(lines)


def _wrapped(text: str, n_chars: int) -> list[str]:
    return textwrap.wrap(text, n_chars, break_on_hyphens=False)


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
