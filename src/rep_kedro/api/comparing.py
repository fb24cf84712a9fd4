"""How similar are representations? One measure or many, for two representations or many."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from rep_kedro.api.arrays import Representations, name_tensors, require_device
from rep_kedro.errors import UserError, require_known
from rep_kedro.measures import get_measure
from rep_kedro.measures.flat_stimuli import FLAT_STIMULI, compare_without_flat
from rep_kedro.measures.named import Reasons, compare_named
from rep_kedro.parameter_rules import require_once

if TYPE_CHECKING:
    import numpy as np
    import torch
    from matplotlib.axes import Axes
    from pandas import DataFrame

_MEMORY_BYTES = 1_000_000_000


@dataclass(frozen=True, eq=False, repr=False)
class SimilarityMatrix:
    """Values of one measure between representations.

    It prints as a labelled table, in notebooks as HTML.

    Attributes:
        values: Shape (n, n), float64; NaN where undefined. Entry (a, b) of a directed measure says what is
            asked *from* a *of* b.
        names: Of rows and columns.
        measure: Id of the measure.
        reasons: Why, for each NaN, by the names of row and column.
        n_left_out: How many flat stimuli each comparison leaves out, shape (n, n); None where all are kept.
    """

    values: np.ndarray
    names: tuple[str, ...]
    measure: str
    reasons: Reasons
    n_left_out: np.ndarray | None = None

    @property
    def value(self) -> float:
        """The number for two representations, at the first row and second column.

        Raises:
            UserError: If there are not two representations.
        """
        if len(self.names) != 2:
            raise UserError(f"value is for two representations, got {len(self.names)}; use values")
        return float(self.values[0, 1])

    def to_frame(self) -> DataFrame:
        """Return the values as a DataFrame with the names on both axes."""
        import pandas as pd

        return pd.DataFrame(self.values.copy(), index=list(self.names), columns=list(self.names))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw a heat map.

        Args:
            ax: Where to draw; None makes a new figure with pyplot.

        Returns:
            The axes; ``ax.figure.savefig(...)`` writes a file.
        """
        import matplotlib.pyplot as plt
        import numpy as np

        n, measure = len(self.names), get_measure(self.measure)
        if ax is None:
            side = 2.4 + min(0.45 * n, 10)
            ax = plt.subplots(figsize=(side + 0.8, side), layout="constrained")[1]
        low, high = (end if math.isfinite(end) else None for end in measure.value_range)
        if low is not None and low < 0:  # few values are negative: half of the colours would go to waste
            low = min(0.0, float(np.nanmin(self.values, initial=0.0)))
        cmap = plt.get_cmap("viridis" if measure.larger_is_more_similar else "viridis_r").with_extremes(
            bad="0.85"
        )
        image = ax.imshow(self.values, cmap=cmap, vmin=low, vmax=high)
        ax.set_xticks(range(n), self.names, rotation=45, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(n), self.names)
        ax.set_title(measure.title, fontsize="medium")
        ax.figure.colorbar(image, ax=ax, shrink=0.8)
        if n <= 12:
            for (row, column), number in np.ndenumerate(self.values):
                text = "–" if np.isnan(number) else f"{number:.2f}"
                ink = ink_on(image.cmap(image.norm(number)))
                ax.text(column, row, text, ha="center", va="center", fontsize=8, color=ink)
        return ax

    def __repr__(self) -> str:
        return "\n".join(
            [self._headline(), self.to_frame().to_string(float_format=write_value), *self._notes()]
        )

    def _repr_html_(self) -> str:
        notes = "".join(f"<li>{escape(note)}</li>" for note in self._notes())
        table = self.to_frame().to_html(float_format=write_value)
        return f"<p>{escape(self._headline())}</p>{table}" + (f"<ul>{notes}</ul>" if notes else "")

    def _headline(self) -> str:
        measure = get_measure(self.measure)
        return measure.title + ("" if measure.symmetric else "; directed, from row to column")

    def _notes(self) -> list[str]:
        """Return how many stimuli are left out, and each reason once, with the first pair that it is for."""
        pairs: dict[str, list[tuple[str, str]]] = {}
        for pair, why in self.reasons.items():
            pairs.setdefault(why, []).append(pair)
        most = 0 if self.n_left_out is None else int(self.n_left_out.max())
        left_out = [f"without up to {most} stimuli that are flat for one of two"] if most else []
        return left_out + [
            f"undefined for {found[0][0]}, {found[0][1]}"
            + (f" and {len(found) - 1} more" if len(found) > 1 else "")
            + f": {why}"
            for why, found in pairs.items()
        ]


def similarity(
    representations: Representations,
    measure: str = "cka_linear_debiased",
    *,
    names: Sequence[str] | None = None,
    flat_stimuli: str = "keep",
    memory_bytes: int = _MEMORY_BYTES,
    device: torch.device | str | None = None,
) -> SimilarityMatrix:
    """Compare every pair of representations under one measure.

    Args:
        representations: Arrays of numpy or torch, shape (n_stimuli, n_features_i), row s for the same
            stimulus in all; a list, or a dict by name. float64 is compared in float64, any other type in
            float32 with float64 sums.
        measure: Id; ``rep_kedro.measures()`` lists them.
        names: Of the members of a list; x0, x1 and so on without them.
        flat_stimuli: ``leave_out`` compares two representations without the stimuli of which one of them has
            no direction, where the measure needs one (all features zero for cosines, all equal for
            correlations), and counts them in ``n_left_out``; ``keep`` leaves such a measure undefined.
        memory_bytes: Working memory; changes speed, not the result.
        device: Where to compute; None computes where the representations are.

    Returns:
        The matrix; ``.value`` is the number for two representations.

    Raises:
        UserError: If the measure is unknown, or a representation is not a matrix, holds another number of
            stimuli, fewer than four, or NaN or infinity.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(100, 5))
        >>> y = x + np.random.default_rng(1).normal(size=(100, 5))
        >>> similarity({"clean": x, "noisy": y})
        CKA (linear, debiased)
               clean  noisy
        clean 1.0000 0.5318
        noisy 0.5318 1.0000
        >>> round(similarity([x, y], "rsa_correlation_spearman").value, 4)
        0.486
    """
    found = compare(
        representations,
        [measure],
        names=names,
        flat_stimuli=flat_stimuli,
        memory_bytes=memory_bytes,
        device=device,
    )
    return found[measure]


def compare(
    representations: Representations,
    measures: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    flat_stimuli: str = "keep",
    memory_bytes: int = _MEMORY_BYTES,
    device: torch.device | str | None = None,
) -> dict[str, SimilarityMatrix]:
    """Compare every pair of representations under many measures; what measures share is computed once.

    Args:
        representations: As for ``similarity``.
        measures: Ids; ``rep_kedro.measures()`` lists them.
        names: As for ``similarity``.
        flat_stimuli: As for ``similarity``.
        memory_bytes: As for ``similarity``.
        device: As for ``similarity``.

    Returns:
        By id, in the order asked for.

    Raises:
        UserError: As ``similarity``, and if a measure is named twice or none is.
    """
    if isinstance(measures, str):
        raise UserError(f"measures must be a list of ids, got {measures!r}; use similarity for one measure")
    wanted = list(measures)
    require_once(wanted, "measures")
    if not wanted:
        raise UserError("no measure was named; rep_kedro.measures() lists them")
    chosen = [get_measure(measure) for measure in wanted]
    tensors = name_tensors(representations, names)
    places = sorted({str(tensor.device) for tensor in tensors.values()})
    if device is None and len(places) > 1:
        raise UserError(f"representations are on {' and '.join(places)}; say with device where to compute")
    if device is not None:
        device = require_device(device)
    require_known("choice of flat_stimuli", flat_stimuli, FLAT_STIMULI)
    if flat_stimuli == "keep":
        found = {
            measure.id: SimilarityMatrix(values, tuple(tensors), measure.id, reasons)
            for measure, values, reasons in compare_named(
                tensors, chosen, memory_bytes=memory_bytes, device=device
            )
        }
    else:
        found = {
            c.measure.id: SimilarityMatrix(c.values, tuple(tensors), c.measure.id, c.reasons, c.n_left_out)
            for c in compare_without_flat(tensors, chosen, memory_bytes=memory_bytes, device=device)
        }
    return {name: found[name] for name in wanted}


def write_value(number: float) -> str:
    """Return a value as tables show it."""
    return f"{number:.4f}" if number == 0 or 1e-3 <= abs(number) < 1e5 else f"{number:.4g}"


def ink_on(colour: Iterable[float]) -> str:
    """Return the colour of text that can be read on a colour (red, green, blue, opacity)."""
    red, green, blue, _ = colour
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
