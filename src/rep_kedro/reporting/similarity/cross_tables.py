"""Which kinds of network are there, and how many of each? Counts for every two properties."""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rep_kedro.datasets.marks import describe_points
from rep_kedro.reporting.names import drawn, shortened
from rep_kedro.reporting.style import INK, PAPER, grid_of_panels, plot_note, start_figure, styled
from rep_kedro.reporting.texts import figure_texts

TITLE = figure_texts("categories")["title"]
NONE = "none"
MOST_VALUES = 14
N_COLUMNS = 3
COLOUR_MAP = "Blues"
DARK = 0.6  # of the largest count: from there on, counts are written in white
PROPERTIES = {"objective": "objective", "architecture": "architecture", "trained_on": "trained on"}
SIZE = "parameters"
UNITS = {"G": 1e9, "M": 1e6, "k": 1e3, "": 1.0}


def plot_categories(model_cards: pd.DataFrame) -> Figure:
    """Draw how many networks have each two values of two properties.

    Returns:
        One panel per two of objective, architecture, training set and number of parameters (by powers of
        ten); of a property with very many values the rarest share one row or column.
    """
    if not len(model_cards):
        return plot_note(TITLE, "there are no model cards")
    return _plot(properties_of(model_cards))


def properties_of(model_cards: pd.DataFrame) -> pd.DataFrame:
    """Return the properties of each network, in the order in which they are shown.

    Texts as the cards have them, missing ones NaN; the number of parameters as the power of ten below it.
    """
    columns = {name: model_cards[column].astype(object) for column, name in PROPERTIES.items()}
    counts = pd.to_numeric(model_cards["n_parameters"]).astype("float64")
    columns[SIZE] = pd.Series(np.floor(np.log10(counts.where(counts >= 1)) + 1e-9))
    return pd.DataFrame(columns)


def decade_of(exponent: float) -> str:
    """Return two powers of ten, the lower given, as people write them.

    Example:
        >>> decade_of(4), decade_of(7)
        ('10 k to 100 k', '10 M to 100 M')
    """
    return f"{_with_unit(10.0**exponent)} to {_with_unit(10.0 ** (exponent + 1))}"


def _with_unit(count: float) -> str:
    unit = next(unit for unit, size in UNITS.items() if count >= size)
    return f"{count / UNITS[unit]:g} {unit}".strip()


@styled
def _plot(values: pd.DataFrame) -> Figure:
    tables = [_counts(values, row, column) for row, column in combinations(values.columns, 2)]
    rows = [tables[:N_COLUMNS], tables[N_COLUMNS:]]
    heights = [1.6 + 0.24 * max(len(table) for table in row) for row in rows]
    figure = start_figure(TITLE, 0.5 + sum(heights))
    axes = grid_of_panels(figure, len(tables), N_COLUMNS, height_ratios=heights)
    largest = max(int(table.to_numpy().max()) for table in tables)
    for panel, table in zip(axes, tables, strict=True):
        _draw_counts(panel, table, largest)
    return figure


def _counts(values: pd.DataFrame, row: str, column: str) -> pd.DataFrame:
    """Return how many networks have each two properties, under the labels of both."""
    (row_places, row_labels), (places, labels) = (_placed(values[name]) for name in (row, column))
    table = pd.crosstab(row_places, places)
    return pd.DataFrame(
        table.to_numpy(),
        index=pd.Index([row_labels[int(place)] for place in table.index.to_numpy()], name=row),
        columns=pd.Index([labels[int(place)] for place in table.columns.to_numpy()], name=column),
    )


def _placed(values: pd.Series) -> tuple[pd.Series, list[str]]:
    """Return the place of each value in the order of display, and the labels in that order.

    Values by name, sizes by size; of very many the rarest share one place; what is missing comes last.
    """
    counts = values.value_counts(sort=True)
    rare = set(counts.index[MOST_VALUES - 1 :]) if len(counts) > MOST_VALUES else set()
    is_size = values.name == SIZE
    kept = sorted(set(counts.index) - rare, key=lambda value: value if is_size else str(value).lower())
    labels = [decade_of(value) if is_size else drawn(str(value)) for value in kept]
    places = {value: place for place, value in enumerate(kept)} | dict.fromkeys(rare, len(kept))
    absent = "unknown" if is_size else NONE
    labels += [f"{len(rare)} others"] * bool(rare) + [absent]
    return values.map(places).fillna(len(labels) - 1).astype("int64"), labels


def _draw_counts(axes: Axes, table: pd.DataFrame, largest: int) -> None:
    counts = table.to_numpy()
    n_rows, n_columns = counts.shape
    axes.imshow(
        np.ma.masked_equal(counts / largest, 0), cmap=colormaps[COLOUR_MAP], vmin=-0.25, vmax=1.1,
        aspect="auto", interpolation="none", extent=(0, n_columns, n_rows, 0),
    )  # fmt: skip
    rows, columns = np.nonzero(counts)
    names: dict[str, Any] = {
        str(side.name): side.to_numpy()[places]
        for side, places in ((table.index, rows), (table.columns, columns))
    }
    describe_points(axes, columns + 0.5, rows + 0.5, {**names, "networks": counts[rows, columns]})
    for row, column in zip(rows, columns, strict=True):
        count = counts[row, column]
        axes.text(
            column + 0.5, row + 0.5, str(count), ha="center", va="center", fontsize=8,
            color=PAPER if count / largest > DARK else INK,
        )  # fmt: skip
    axes.set_xticks(np.arange(n_columns) + 0.5, [shortened(name, 18) for name in table.columns])
    axes.set_yticks(np.arange(n_rows) + 0.5, [shortened(name, 18) for name in table.index])
    axes.tick_params(axis="both", length=0)
    axes.tick_params(axis="x", labelrotation=35)
    for label in axes.get_xticklabels():
        label.set_horizontalalignment("right")
        label.set_rotation_mode("anchor")
    axes.set_title(f"{table.index.name} × {table.columns.name}")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
