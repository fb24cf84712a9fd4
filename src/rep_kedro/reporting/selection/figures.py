"""Which few networks together? Accuracy of ensembles by how their networks were chosen."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.names import shortened
from rep_kedro.reporting.style import (
    INK,
    MUTED,
    add_legend,
    plot_note,
    row_height,
    start_figure,
    styled,
    title_of_part,
    write_percents,
)
from rep_kedro.reporting.tables import in_order
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("model_selection")["title"]
N_COLUMNS = 3
MOST_SETS = 6
STRATEGIES = {  # words, colour, marker
    "top": ("most accurate", INK, "o"),
    "best_of_each_cluster": ("best of each cluster", "#d4539b", "s"),
    "random_of_each_cluster": ("random of each cluster", "#0b7fb8", "^"),
    "within_one_cluster": ("within one cluster", "#c9a500", "D"),
    "random": ("random", "#9a9a9a", "X"),
}
WORDS = {"best_accuracy": "best network", "ensemble_accuracy": "ensemble"}
_DODGE = 0.17  # of the distance between two sizes


def plot_model_selection(model_selection: pd.DataFrame, *, measure: str) -> Figure:
    """Draw accuracies over the number of networks by strategy, and gains over the similarity within a set.

    Returns:
        Above, for each stimulus set: medians over draws of the ensemble's accuracy (filled) and of the best
        single network's (hollow), lines from the smallest to the largest draw. Below: by how much the
        ensemble is better than its best network, one mark per set of networks.
    """
    judged = model_selection.dropna(subset=["ensemble_accuracy", "best_accuracy"])
    if not len(judged):
        reasons = [reason for reason in in_order(model_selection["reason"].dropna()) if reason]
        why = f": {shortened(reasons[0], 80)}" if reasons else ""
        return plot_note(TITLE, f"no set of networks was judged by the measure {measure}{why}")
    return _plot(judged, measure)


@styled
def _plot(judged: pd.DataFrame, measure: str) -> Figure:
    sets = in_order(judged["stimulus_set"])
    title = title_of_part(TITLE, MOST_SETS, len(sets), "stimulus sets")
    sets = sets[:MOST_SETS]
    strategies = [name for name in STRATEGIES if (judged["strategy"] == name).any()]
    n_columns = min(N_COLUMNS, len(sets))
    n_rows = -(-len(sets) // n_columns)
    figure = start_figure(title, 0.9 + row_height(n_rows, 4.9, 0.9) * n_rows)
    grid = figure.subplots(2 * n_rows, n_columns, squeeze=False)
    above, below = grid[:n_rows].ravel(), grid[n_rows:].ravel()
    for spare in (*above[len(sets) :], *below[len(sets) :]):
        spare.set_axis_off()
    for index, (name, first, second) in enumerate(zip(sets, above, below, strict=False)):
        rows = judged[judged["stimulus_set"] == name]
        _draw_accuracies(first, rows, strategies, name)
        _draw_gains(second, rows, strategies, name)
        first.set_title(shortened(name, 32))
        second.set_title(shortened(name, 32))
        if index % n_columns == 0:
            first.set_ylabel("accuracy on\ntest images (%)")
            second.set_ylabel("ensemble − best\nnetwork (% points)")
        first.set_xlabel("networks in a set")
        second.set_xlabel(f"mean similarity within the set\n({shortened(measure, 34)}), no unit")
    _add_legend(figure, strategies)
    return figure


def _draw_accuracies(panel: Axes, rows: pd.DataFrame, strategies: Sequence[str], name: str) -> None:
    sizes = sorted(int(size) for size in rows["n_models"].unique())
    for place, strategy in enumerate(strategies):
        own = rows[rows["strategy"] == strategy]
        shift = (place - (len(strategies) - 1) / 2) * _DODGE
        _, colour, marker = STRATEGIES[strategy]
        for column, face, offset in (
            ("best_accuracy", "#ffffff", -0.025),
            ("ensemble_accuracy", colour, 0.025),
        ):
            grouped = own.groupby("n_models")[column]
            x = np.array([sizes.index(int(size)) for size in grouped.median().index]) + shift + offset
            columns: dict[str, Any] = {
                "how chosen": [STRATEGIES[strategy][0]] * len(x), "networks in a set": grouped.median().index,
                WORDS[column]: grouped.median(), "smallest": grouped.min(), "largest": grouped.max(),
            }  # fmt: skip
            describe_points(panel, x, grouped.median(), columns, stimulus_set=name)
            panel.vlines(x, grouped.min(), grouped.max(), color=colour, linewidth=1.1, alpha=0.75)
            panel.plot(
                x, grouped.median(), linestyle="none", marker=marker, markersize=6.5,
                markeredgecolor=colour, markerfacecolor=face, markeredgewidth=1.1,
            )  # fmt: skip
    panel.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    panel.set_xlim(-0.5, len(sizes) - 0.5)
    panel.grid(visible=False, axis="x")
    for edge in range(len(sizes) - 1):
        panel.axvline(edge + 0.5, color=MUTED, linewidth=0.5, alpha=0.5)
    write_percents(panel.yaxis)


def _draw_gains(panel: Axes, rows: pd.DataFrame, strategies: Sequence[str], name: str) -> None:
    panel.axhline(0, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
    for strategy in reversed(strategies):
        own = rows[rows["strategy"] == strategy].dropna(subset=["mean_similarity"])
        _, colour, marker = STRATEGIES[strategy]
        gains = 100 * (own["ensemble_accuracy"] - own["best_accuracy"])
        gained: dict[str, Any] = {
            "how chosen": [STRATEGIES[strategy][0]] * len(own),
            "networks": [", ".join(map(str, models)) for models in own["models"]],
            "mean similarity": own["mean_similarity"], "gain (% points)": gains,
        }  # fmt: skip
        describe_points(panel, own["mean_similarity"], gains, gained, stimulus_set=name)
        panel.plot(
            own["mean_similarity"], gains, linestyle="none",
            marker=marker, markersize=6.5, color=colour, alpha=0.8, markeredgecolor="#ffffff",
            markeredgewidth=0.4,
        )  # fmt: skip
    panel.margins(0.1)


def _add_legend(figure: Figure, strategies: Sequence[str]) -> None:
    handles = []
    for strategy in strategies:
        words, colour, marker = STRATEGIES[strategy]
        handles.append(
            Line2D([], [], linestyle="none", marker=marker, color=colour, markersize=7, label=words)
        )
    for words, face in (("ensemble", MUTED), ("best single network", "#ffffff")):
        handles.append(
            Line2D([], [], linestyle="none", marker="o", markeredgecolor=MUTED, markerfacecolor=face,
                   markersize=7, label=words)
        )  # fmt: skip
    add_legend(figure, handles, 5, alignment="left", title="how the networks of a set were chosen")
