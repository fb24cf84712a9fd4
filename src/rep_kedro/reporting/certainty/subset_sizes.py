"""How far do similarities move from one number of stimuli to the next?"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from rep_kedro.datasets import MemberKey, TensorsHandle
from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.certainty.figures import LINE_COLOURS
from rep_kedro.reporting.names import shortened
from rep_kedro.reporting.style import (
    INK,
    PAPER,
    add_legend,
    grid_of_panels,
    plot_note,
    start_figure,
    styled,
    title_of_part,
)
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("subset_sizes")["title"]
CURVES = "similarity"
MOST_PANELS = 12
N_COLUMNS = 4
BOX_WIDTH = 0.8
Differences = dict[str, dict[str, list[np.ndarray]]]


def plot_subset_sizes(sample_size_curves: Mapping[str, TensorsHandle]) -> Figure:
    """Draw the absolute differences of similarities between neighbouring numbers of stimuli as boxes.

    Returns:
        One panel per stimulus set, one box per measure and step from a number of stimuli to the next; over
        pairs of networks and random orders. Box: middle half; line: 5 to 95 %.
    """
    steps: dict[str, list[str]] = {}
    differences: Differences = {}
    for key in sorted(sample_size_curves):
        stimulus_set, measure = MemberKey.parse(key)
        handle = sample_size_curves[key]
        sizes = [int(size) for size in handle.meta["sizes"]]
        curves = np.asarray(handle.tensor(CURVES), dtype=np.float64)
        curves = curves[:, :, np.isfinite(curves).all(axis=(0, 1))]
        if curves.size and len(sizes) > 1:
            changes = np.abs(np.diff(curves, axis=1))
            differences.setdefault(stimulus_set, {})[measure] = [
                changes[:, place].ravel() for place in range(changes.shape[1])
            ]
            steps[stimulus_set] = [f"{a}–{b}" for a, b in pairwise(sizes)]
    if not differences:
        return plot_note(TITLE, "no similarities on two numbers of stimuli")
    return _plot(differences, steps)


@styled
def _plot(differences: Differences, steps: Mapping[str, list[str]]) -> Figure:
    names = list(differences)[:MOST_PANELS]
    measures = sorted({measure for of_set in differences.values() for measure in of_set})
    title = title_of_part(TITLE, len(names), len(differences), "sets")
    n_columns = min(N_COLUMNS, max(len(names), 2))
    n_rows = -(-len(names) // n_columns)
    figure = start_figure(title, 1.1 + 2.7 * n_rows)
    axes = grid_of_panels(figure, len(names), n_columns, sharey=True)
    for index, (panel, name) in enumerate(zip(axes, names, strict=True)):
        width = BOX_WIDTH / len(measures)
        for place, measure in enumerate(measures):
            for step, values in enumerate(differences[name].get(measure, [])):
                left = step - BOX_WIDTH / 2 + place * width
                _draw_box(panel, left, 0.86 * width, values, LINE_COLOURS[place % len(LINE_COLOURS)])
                _describe_box(panel, left + 0.43 * width, values, measure, steps[name][step], name)
        panel.set_xticks(range(len(steps[name])), steps[name])
        panel.tick_params(axis="x", labelrotation=30, labelsize=7.5)
        panel.set_title(shortened(name, 28))
        panel.grid(axis="x", visible=False)
        panel.set_xlabel("from so many stimuli to so many", fontsize=8)
        if index % n_columns == 0:
            panel.set_ylabel("|difference of similarity|")
    axes[0].set_ylim(bottom=0)  # once all are drawn: it ends the search for limits that hold all values
    handles = [
        Patch(color=LINE_COLOURS[place % len(LINE_COLOURS)], label=shortened(measure, 40))
        for place, measure in enumerate(measures)
    ]
    add_legend(figure, handles, 4)
    return figure


def _describe_box(
    axes: Axes, x: float, values: np.ndarray, measure: str, step: str, stimulus_set: str
) -> None:
    names = ("median difference", "middle half from", "to", "5 % point", "95 % point")
    quantiles = dict(zip(names, np.quantile(values, [0.5, 0.25, 0.75, 0.05, 0.95])[:, None], strict=True))
    columns = {"measure": [measure], "stimuli": [step], **quantiles}
    describe_points(axes, [x], quantiles["median difference"], columns, along="x", stimulus_set=stimulus_set)


def _draw_box(axes: Axes, left: float, width: float, values: np.ndarray, colour: str) -> None:
    low, first, median, third, high = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
    middle = left + width / 2
    axes.plot([middle, middle], [low, high], color=INK, linewidth=0.9, zorder=2)
    axes.add_patch(Rectangle((left, first), width, third - first, facecolor=colour, linewidth=0, zorder=3))
    for colour_of_median, thickness in ((PAPER, 3.2), (INK, 1.4)):
        axes.plot(
            [left, left + width], [median, median], color=colour_of_median, linewidth=thickness, zorder=4,
            solid_capstyle="butt",
        )  # fmt: skip
