"""How sure are the similarities? Chance and noise ceiling around them, and their way over sample sizes."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullLocator

from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.names import drawn, shortened
from rep_kedro.reporting.panels import MOST_PANELS, panels_and_title, panels_of_sets
from rep_kedro.reporting.style import (
    INK,
    MUTED,
    SCREEN_IN,
    WIDTH_IN,
    Palette,
    add_legend,
    evenly,
    grid_of_panels,
    plot_note,
    start_figure,
    styled,
    title_of_part,
)
from rep_kedro.reporting.tables import in_order, objectives_in_order, palette_of
from rep_kedro.reporting.texts import figure_texts

CEILING_TITLE = figure_texts("noise_ceiling")["title"]
SIZES_TITLE = figure_texts("sample_sizes")["title"]
LINE_STYLES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
PANELS_IN = 0.88 * WIDTH_IN  # width of all panels of a row
DIGIT_IN, GAP_IN = 0.071, 0.07  # of tick labels
LINE_COLOURS = ("#004d66", "#c04a00", "#7d3668", "#6b4a12")
BAR_HALF_HEIGHT = 0.2
CEILING_WORDS = {
    "label": "kind of network",
    "others_mean": "mean similarity of others",
    "others_largest": "largest of others",
    "ceiling_low": "noise ceiling from",
    "ceiling_high": "to",
}
SIZE_WORDS = {
    "measure": "measure",
    "n_stimuli": "stimuli",
    "mean_similarity": "mean similarity",
    "first_quartile": "middle half from",
    "third_quartile": "to",
    "mean_change": "mean difference from all",
}
MOST_KINDS = 24  # rows of a panel
N_COLUMNS = 3


def plot_noise_ceiling(
    noise_ceilings: pd.DataFrame,
    similarity_inference: pd.DataFrame,
    model_cards: pd.DataFrame,
    *,
    measure: str,
) -> Figure:
    """Draw chance, the similarity of other networks, and the noise ceiling of each kind of network.

    Args:
        noise_ceilings: The contract's table.
        similarity_inference: The contract's table; without rows of the measure, chance is not drawn.
        model_cards: Gives the objectives' colours.
        measure: Which similarity measure.

    Returns:
        One panel per stimulus set, one row per kind of network with repeats: a bar from the lower to the
        upper ceiling, a mark at the mean similarity of other networks, a tick at the largest.
    """
    rows = noise_ceilings[(noise_ceilings["measure"] == measure) & noise_ceilings["ceiling_low"].notna()]
    if not len(rows):
        return plot_note(CEILING_TITLE, f"no networks that differ in their seed alone ({measure})")
    chance = similarity_inference[similarity_inference["measure"] == measure]
    return _plot_ceilings(rows, chance, palette_of(model_cards))


@styled
def _plot_ceilings(rows: pd.DataFrame, chance: pd.DataFrame, palette: Palette) -> Figure:
    keys, labels = _kinds_of(rows)
    rows = rows.assign(kind=keys, label=labels)
    order = {name: place for place, name in enumerate(objectives_in_order(rows["objective"].astype(str)))}
    kinds = rows.drop_duplicates("kind").assign(place=lambda r: r["objective"].astype(str).map(order))
    kinds = kinds.sort_values(["place", "kind"], kind="stable")
    title = CEILING_TITLE
    title = title_of_part(title, MOST_KINDS, len(kinds), "kinds")
    kinds = kinds.iloc[evenly(range(len(kinds)), MOST_KINDS)]
    row_in = 0.7 + 0.27 * len(kinds)
    most_rows = max(1, int((SCREEN_IN - 1.3) // row_in))
    names, title = panels_of_sets(in_order(rows["stimulus_set"]), title, N_COLUMNS * most_rows)
    n_columns = min(N_COLUMNS, len(names))
    n_rows = -(-len(names) // N_COLUMNS)
    figure = start_figure(title, 1.3 + n_rows * row_in)
    axes = grid_of_panels(figure, len(names), n_columns, sharex=True, sharey=True)
    for index, (panel, name) in enumerate(zip(axes, names, strict=True)):
        _draw_chance(panel, chance[chance["stimulus_set"].astype(str) == name])
        here = rows[rows["stimulus_set"].astype(str) == name].set_index("kind")
        for y, (kind, objective) in enumerate(
            zip(kinds["kind"], kinds["objective"].astype(str), strict=True)
        ):
            if kind in here.index:
                _draw_kind(panel, -y, here.loc[kind], palette.colour(objective), palette.marker(objective))
        placed = kinds.assign(y=-np.arange(len(kinds)))[["kind", "y"]].merge(here.reset_index(), on="kind")
        columns = {words: placed[column] for column, words in CEILING_WORDS.items()}
        describe_points(panel, placed["others_mean"], placed["y"], columns, along="y", stimulus_set=name)
        panel.set_title(shortened(name, 28))
        panel.grid(axis="y", visible=False)
        if index + n_columns >= len(names):
            panel.set_xlabel(f"similarity ({shortened(str(here['measure'].iloc[0]), 26)})")
        if index % n_columns == 0:
            panel.set_yticks([-y for y in range(len(kinds))], list(kinds["label"]))
            panel.tick_params(axis="y", length=0)
    axes[0].set_ylim(-len(kinds) + 0.4, 0.6)
    axes[0].set_xlim(right=1.02)
    _add_ceiling_legend(figure, has_chance=bool(len(chance.dropna(subset=["threshold"]))))
    return figure


def _kinds_of(rows: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Return key and label of each row's kind; training set and source are given only where they differ."""
    named = ["objective", "architecture"]
    for column in ("trained_on", "source"):
        values = rows[[*named, column]].fillna("").drop_duplicates()
        if values.duplicated(named).any():
            named.append(column)
    names = rows[named].fillna("").astype(str).to_numpy().tolist()
    labels = [shortened(", ".join(drawn(part) for part in parts if part), 40) for parts in names]
    return ["\n".join(parts) for parts in names], labels


def _draw_chance(axes: Axes, chance: pd.DataFrame) -> None:
    thresholds = chance["threshold"].dropna().to_numpy(dtype=np.float64)
    if thresholds.size:
        axes.axvline(float(thresholds.max()), color=INK, linewidth=1.1, linestyle=":", zorder=1)


def _draw_kind(axes: Axes, y: int, row: pd.Series, colour: str, marker: str) -> None:
    low, high = float(row["ceiling_low"]), float(row["ceiling_high"])
    axes.barh(
        y, high - low, left=low, height=2 * BAR_HALF_HEIGHT, color=colour, alpha=0.3, linewidth=0, zorder=2
    )
    axes.plot([low, low], [y - BAR_HALF_HEIGHT, y + BAR_HALF_HEIGHT], color=colour, linewidth=1.8, zorder=3)
    mean, largest = float(row["others_mean"]), float(row["others_largest"])
    axes.plot([mean, largest], [y, y], color=colour, linewidth=1.2, zorder=3)
    axes.plot([mean], [y], linestyle="none", marker=marker, markersize=6, color=colour, zorder=4)
    axes.plot(
        [largest],
        [y],
        linestyle="none",
        marker="|",
        markersize=9,
        color=colour,
        markeredgewidth=1.6,
        zorder=4,
    )


def _add_ceiling_legend(figure: Figure, *, has_chance: bool) -> None:
    handles: list[Line2D | Patch] = [
        Line2D(
            [],
            [],
            linestyle="-",
            marker="o",
            color=MUTED,
            markersize=6,
            label="other networks: mean, line to the largest",
        ),
        Patch(facecolor=MUTED, alpha=0.4, label="noise ceiling, lower to upper bound"),
    ]
    if has_chance:
        handles.append(
            Line2D([], [], linestyle=":", color=INK, label="most that chance gives for any pair (threshold)")
        )
    add_legend(figure, handles, len(handles))


def plot_sample_sizes(sample_sizes: pd.DataFrame) -> Figure:
    """Draw similarities and their change over the number of stimuli, one panel per stimulus set.

    Returns:
        Above: mean similarity over pairs of networks, band: middle half. Below: mean absolute difference from
        the similarity on all stimuli.
    """
    rows = sample_sizes.dropna(subset=["mean_similarity"])
    if not len(rows):
        return plot_note(SIZES_TITLE, "no curves over the number of stimuli")
    return _plot_sizes(rows)


@styled
def _plot_sizes(rows: pd.DataFrame) -> Figure:
    names, title = panels_and_title(rows, SIZES_TITLE)
    measures = sorted(rows["measure"].astype(str).unique())
    shown = names[: min(MOST_PANELS, 4)]
    if len(shown) < len(names):
        title = f"{SIZES_TITLE} ({len(shown)} of {rows['stimulus_set'].nunique()} stimulus sets)"
    figure = start_figure(title, 4.9)
    grid = figure.subplots(2, len(shown), sharex="col", sharey="row", squeeze=False, height_ratios=[1.25, 1])
    for column, name in zip(grid.T, shown, strict=True):
        of_set = rows[rows["stimulus_set"].astype(str) == name].sort_values("n_stimuli")
        for place, measure in enumerate(measures):
            _draw_sizes(column, of_set[of_set["measure"] == measure], place)
        columns = {words: of_set[name_of_column] for name_of_column, words in SIZE_WORDS.items()}
        for panel, value in zip(column, ("mean_similarity", "mean_change"), strict=True):
            describe_points(panel, of_set["n_stimuli"], of_set[value], columns, stimulus_set=name)
        sizes = [int(size) for size in sorted(of_set["n_stimuli"].unique())]
        for panel in column:
            panel.set_xscale("log")
            panel.xaxis.set_minor_locator(NullLocator())
            panel.set_xticks(sizes, apart(sizes, PANELS_IN / len(shown)))
        column[0].set_title(shortened(name, 28))
        column[1].set_xlabel("number of stimuli (log)")
    grid[1, 0].set_ylim(bottom=0)
    grid[1, 0].yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    grid[0, 0].set_ylabel("similarity, no unit\n(line: mean, band: middle half)")
    grid[1, 0].set_ylabel("mean |difference|\nfrom all stimuli")
    handles = [
        Line2D(
            [],
            [],
            color=_colour(place),
            linestyle=_style(place),
            marker="o",
            markersize=4,
            label=shortened(measure, 40),
        )
        for place, measure in enumerate(measures)
    ]
    add_legend(figure, handles, 4)
    return figure


def apart(sizes: Sequence[int], width_in: float) -> list[str]:
    """Return the labels of numbers on a logarithmic axis; none where the next one written would touch it.

    Args:
        sizes: Rising numbers.
        width_in: Width of the axis, in inches.

    Example:
        >>> apart([10, 100, 200, 240], 2.5), apart([200, 240], 2.5)
        (['10', '100', '', '240'], ['200', '240'])
    """
    span = math.log(sizes[-1] / sizes[0]) or 1.0
    labels, following, room = [""] * len(sizes), math.inf, 0.0
    for place in reversed(range(len(sizes))):
        position = width_in * math.log(sizes[place] / sizes[0]) / span
        half = DIGIT_IN * len(str(sizes[place])) / 2
        if following - position >= half + room + GAP_IN:
            labels[place], following, room = str(sizes[place]), position, half
    return labels


def _draw_sizes(panels: np.ndarray, rows: pd.DataFrame, place: int) -> None:
    colour, style = _colour(place), _style(place)
    sizes = rows["n_stimuli"].to_numpy(dtype=np.float64)
    columns = {
        name: rows[name].to_numpy(dtype=np.float64)
        for name in ("mean_similarity", "first_quartile", "third_quartile", "mean_change")
    }
    panels[0].fill_between(
        sizes, columns["first_quartile"], columns["third_quartile"], color=colour, alpha=0.13, linewidth=0
    )
    for panel, name in zip(panels, ("mean_similarity", "mean_change"), strict=True):
        panel.plot(
            sizes, columns[name], color=colour, linestyle=style, marker="o", markersize=4, linewidth=1.6
        )


def _colour(place: int) -> str:
    return LINE_COLOURS[place % len(LINE_COLOURS)]


def _style(place: int) -> Literal["-", "--", ":", "-."]:
    return LINE_STYLES[(place + place // len(LINE_COLOURS)) % len(LINE_STYLES)]
