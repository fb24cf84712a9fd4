"""Similarities of layers with layers as a labelled matrix that prints and plots."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from rep_kedro.api.comparing import ink_on, write_value
from rep_kedro.measures import get_measure
from rep_kedro.measures.named import Reasons

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from pandas import DataFrame

MOST_NAMES, MOST_NUMBERS = 40, 12


@dataclass(frozen=True, eq=False, repr=False)
class LayerSimilarity:
    """Values of one measure between the layers of two networks, or within one.

    It prints as a labelled table, in notebooks as HTML.

    Attributes:
        values: Shape (n_layers_a, n_layers_b), float64; NaN where undefined.
        layers_a: Layers of the first network, from input to output: the rows.
        layers_b: Layers of the second network, or of the same one: the columns.
        measure: Id of the measure.
        reasons: Why, for each NaN, by the names of row and column.
        n_stimuli: How many images were shown.
        n_batches: Over how many batches the values are averaged; None where they are of all images at once.
    """

    values: np.ndarray
    layers_a: tuple[str, ...]
    layers_b: tuple[str, ...]
    measure: str
    reasons: Reasons
    n_stimuli: int
    n_batches: int | None = None

    def to_frame(self) -> DataFrame:
        """Return the values as a DataFrame, layers of the first network as rows."""
        import pandas as pd

        return pd.DataFrame(self.values.copy(), index=list(self.layers_a), columns=list(self.layers_b))

    def best_matches(self) -> DataFrame:
        """Return for each layer of the first network the most similar layer of the second.

        Returns:
            Index ``layer``; ``best_layer`` (None where no value is defined) and ``similarity``.
        """
        import numpy as np
        import pandas as pd

        sign = 1.0 if get_measure(self.measure).larger_is_more_similar else -1.0
        filled = np.where(np.isnan(self.values), -np.inf, sign * self.values)
        best = filled.argmax(axis=1)
        is_found = ~np.isneginf(filled.max(axis=1))
        return pd.DataFrame(
            {
                "best_layer": [
                    self.layers_b[j] if ok else None for j, ok in zip(best, is_found, strict=True)
                ],
                "similarity": self.values[np.arange(len(best)), best],
            },
            index=pd.Index(self.layers_a, name="layer"),
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw a heat map, the first layers at the lower left; dots mark the best match of each row.

        Args:
            ax: Where to draw; None makes a new figure with pyplot.

        Returns:
            The axes; ``ax.figure.savefig(...)`` writes a file.
        """
        import matplotlib.pyplot as plt
        import numpy as np

        (n_a, n_b), measure = self.values.shape, get_measure(self.measure)
        if ax is None:
            size = (2.8 + min(0.4 * n_b, 8), 2.2 + min(0.4 * n_a, 8))
            ax = plt.subplots(figsize=size, layout="constrained")[1]
        low, high = (end if math.isfinite(end) else None for end in measure.value_range)
        if low is not None and low < 0:  # few values are negative: half of the colours would go to waste
            low = min(0.0, float(np.nanmin(self.values, initial=0.0)))
        name = "viridis" if measure.larger_is_more_similar else "viridis_r"
        cmap = plt.get_cmap(name).with_extremes(bad="0.85")
        image = ax.imshow(self.values, cmap=cmap, vmin=low, vmax=high, origin="lower", aspect="auto")
        for set_ticks, names in ((ax.set_xticks, self.layers_b), (ax.set_yticks, self.layers_a)):
            places = range(0, len(names), max(1, math.ceil(len(names) / MOST_NAMES)))
            set_ticks(list(places), [names[place] for place in places])
        ax.tick_params(axis="x", rotation=90)
        ax.set_xlabel("layers of the second network →")
        ax.set_ylabel("layers of the first network →")
        ax.set_title(self._headline(), fontsize="medium")
        ax.figure.colorbar(image, ax=ax, shrink=0.8)
        self._mark(ax, image)
        return ax

    def _mark(self, ax: Axes, image: Any) -> None:
        """Write the values where there is room, else mark the best match of each row."""
        import numpy as np

        if max(self.values.shape) <= MOST_NUMBERS:
            for (row, column), number in np.ndenumerate(self.values):
                text = "–" if np.isnan(number) else f"{number:.2f}"
                ink = ink_on(image.cmap(image.norm(number)))
                ax.text(column, row, text, ha="center", va="center", fontsize=8, color=ink)
            return
        best = self.best_matches()["best_layer"]
        found = [(row, self.layers_b.index(name)) for row, name in enumerate(best) if isinstance(name, str)]
        ax.plot([column for _, column in found], [row for row, _ in found], ".", color="white", markersize=4)

    def __repr__(self) -> str:
        return "\n".join(
            [self._headline(), self.to_frame().to_string(float_format=write_value), *self._notes()]
        )

    def _repr_html_(self) -> str:
        notes = "".join(f"<li>{escape(note)}</li>" for note in self._notes())
        table = self.to_frame().to_html(float_format=write_value)
        return f"<p>{escape(self._headline())}</p>{table}" + (f"<ul>{notes}</ul>" if notes else "")

    def _headline(self) -> str:
        over = "" if self.n_batches is None else f", mean over {self.n_batches} batches"
        return f"{get_measure(self.measure).title}{over}; {self.n_stimuli} images"

    def _notes(self) -> list[str]:
        """Return each reason once, with the number of pairs that it is for."""
        counts: dict[str, int] = {}
        for why in self.reasons.values():
            counts[why] = counts.get(why, 0) + 1
        return [f"undefined for {n} pairs of layers: {why}" for why, n in counts.items()]
