"""Which stimulus sets of a figure get a panel, and in how many columns."""

from collections.abc import Sequence

import pandas as pd

from rep_kedro.reporting.style import evenly, title_of_part
from rep_kedro.reporting.tables import in_order

FEW_PANELS = 6  # in three columns; more are drawn in four
MOST_PANELS = 12


def columns_of(n_panels: int) -> int:
    """Return in how many columns panels are drawn."""
    return min(n_panels, 3 if n_panels <= FEW_PANELS else 4)


def panels_and_title(rows: pd.DataFrame, title: str) -> tuple[list[str], str]:
    """Return the stimulus sets that get a panel, and the title; it says so where some get none."""
    return panels_of_sets(in_order(rows["stimulus_set"]), title, MOST_PANELS)


def panels_of_sets(names: Sequence[str], title: str, most: int) -> tuple[list[str], str]:
    """Return names evenly spaced in their order, the first and the last among them, and the title.

    Example:
        >>> panels_of_sets(["a", "b", "c", "d", "e"], "How?", 3)
        (['a', 'c', 'e'], 'How? (3 of 5 stimulus sets)')
    """
    return evenly(names, most), title_of_part(title, most, len(names), "stimulus sets")
