"""On which two stimulus sets do similarities go together? Consistency of each two sets as a map."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from rep_kedro.datasets.marks import describe_map
from rep_kedro.reporting.names import Kind, drawn_kind, shortened
from rep_kedro.reporting.pairs import KIND, kinds_of, of_kind
from rep_kedro.reporting.style import CORNER, INK, MUTED, WIDTH_IN, plot_note, start_figure, styled
from rep_kedro.reporting.tables import groups_of_sets
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("set_pairs")["title"]
LOWEST = -0.44  # lower end of the scale in the similarity-consistency study; lower values lower it
LARGEST_PT, SMALLEST_PT = 8.0, 6.0  # of values in cells; where they would be smaller, none are written
VALUE_EM = 3.1  # width of a value such as −0.44, in font sizes
MAPS_IN = 0.75 * WIDTH_IN  # width of all maps, without names and scale
COLOURS = "RdBu"


def plot_set_pairs(
    consistency: pd.DataFrame,
    stimulus_cards: pd.DataFrame,
    *,
    measure: str,
    set_pair_maps: Sequence[Kind] = (),
) -> Figure:
    """Draw consistency as maps, stimulus set by stimulus set: all network pairs, and two kinds of them.

    Args:
        consistency: The contract's table.
        stimulus_cards: Gives the groups; sets are ordered by group, then name.
        measure: Which similarity measure.
        set_pair_maps: Kinds of pairs (two values, in either order) to draw after all; by default the kinds
            with the highest and the lowest median among the objectives.

    Returns:
        One map per kind, all on one scale with white at 0.
    """
    own = consistency[(consistency["measure"] == measure) & (consistency["anchor"] == "")]
    if not len(own) or own["pearson"].isna().all():
        return plot_note(TITLE, f"no defined consistency of the measure {measure!r}")
    groups = groups_of_sets(stimulus_cards)
    sets = sorted(
        set(own["stimulus_set_a"]) | set(own["stimulus_set_b"]),
        key=lambda name: (str(groups.get(name, "")), str(name)),
    )
    chosen = [("all", ("all", "all")), *(_places_of(own, set_pair_maps) if set_pair_maps else _extremes(own))]
    return _plot(own, chosen, sets, groups, measure)


def _places_of(own: pd.DataFrame, wanted: Sequence[Kind]) -> list[tuple[str, Kind]]:
    """Return category and values of each wanted kind that is there."""
    there = dict.fromkeys(zip(own["category"].astype(str), kinds_of(own), strict=True))
    return [
        next(place for place in there if place[1] in (kind, kind[::-1]))
        for kind in map(tuple, wanted)
        if any(place[1] in (kind, kind[::-1]) for place in there)
    ]


def _extremes(own: pd.DataFrame) -> list[tuple[str, Kind]]:
    """Return the kinds of pairs of objectives with the highest and the lowest median."""
    medians = own[own["category"] == "objective"].groupby(list(KIND))["pearson"].median().dropna()
    if not len(medians):
        return []
    ranked: list[Kind] = list(medians.sort_values(ascending=False, kind="stable").index)
    return [("objective", kind) for kind in dict.fromkeys((ranked[0], ranked[-1]))]


@styled
def _plot(
    own: pd.DataFrame,
    chosen: Sequence[tuple[str, Kind]],
    sets: Sequence[str],
    groups: Mapping[str, str],
    measure: str,
) -> Figure:
    longest = max(len(shortened(name, 18)) for name in sets)
    figure = start_figure(TITLE, 0.95 + 0.075 * longest + 8.0 / max(len(chosen), 2))
    panels = figure.subplots(1, len(chosen), squeeze=False, sharey=True).ravel()
    low = LOWEST
    for panel, (category, kind) in zip(panels, chosen, strict=True):
        rows = of_kind(own[own["category"] == category], kind)
        name = "all network pairs" if category == "all" else drawn_kind(kind)
        image = _draw_map(panel, rows, sets, groups, name)
        _write_values(
            panel,
            np.ma.filled(np.ma.asarray(image.get_array()), np.nan),
            72 * MAPS_IN / len(chosen) / len(sets),
        )
        median = rows["pearson"].median()
        low = np.fmin(low, rows["pearson"].min())
        panel.set_title(f"{name}\nmedian {median:.2f}".replace("-0", "−0"))
    panels[0].set_yticks(range(len(sets)), [shortened(name, 18) for name in sets])
    bar = figure.colorbar(
        image, ax=panels, shrink=0.8, aspect=26, pad=0.01, panchor=CORNER,
        label=f"Pearson r of {shortened(measure, 34)}",
    )  # fmt: skip
    bar.ax.set_ylim(low, 1)
    bar.outline.set_visible(False)
    return figure


def _draw_map(
    axes: Axes, rows: pd.DataFrame, sets: Sequence[str], groups: Mapping[str, str], kind: str
) -> AxesImage:
    place = {name: index for index, name in enumerate(sets)}
    values = np.full((len(sets), len(sets)), np.nan)
    a, b = (rows[f"stimulus_set_{side}"].map(place).to_numpy(dtype=np.int64) for side in "ab")
    values[a, b] = values[b, a] = rows["pearson"].to_numpy(dtype=np.float64)
    axes.set_facecolor("#e8eaec")
    frame = pd.DataFrame(values, index=list(sets), columns=list(sets))
    describe_map(axes, frame, "Pearson r", ("stimulus set", "other stimulus set"), start=-0.5, pairs=kind)
    image = axes.imshow(values, cmap=colormaps[COLOURS], vmin=-1, vmax=1)
    axes.set_xticks(range(len(sets)), [shortened(name, 18) for name in sets], rotation=90)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    for index in range(1, len(sets)):
        if groups.get(sets[index - 1]) != groups.get(sets[index]):
            axes.axhline(index - 0.5, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
            axes.axvline(index - 0.5, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
    return image


def _write_values(axes: Axes, values: "np.ndarray", cell_pt: float) -> None:
    """Write the values into cells that are about so wide, where that is wide enough."""
    size_pt = min(LARGEST_PT, 0.9 * cell_pt / VALUE_EM)
    if size_pt < SMALLEST_PT:
        return
    for a, b in np.ndindex(values.shape):
        if a == b:
            continue
        value = values[a, b]
        text = "–" if np.isnan(value) else f"{value:.2f}".replace("-", "−")
        colour = MUTED if np.isnan(value) else "#ffffff" if abs(value) > 0.6 else INK
        axes.text(b, a, text, ha="center", va="center", fontsize=size_pt, color=colour)
