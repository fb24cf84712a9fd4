"""This run compared with an earlier one: which values changed, and by how much."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rep_kedro.errors import UserError

SIMILARITY_KEYS = ("measure", "stimulus_set", "model_a", "model_b")
CONSISTENCY_KEYS = (
    *("measure", "anchor", "category", "value_a", "value_b"),
    *("stimulus_set_a", "stimulus_set_b"),
)


def compare_values(now: pd.DataFrame, earlier: pd.DataFrame, keys: Sequence[str], value: str) -> pd.DataFrame:
    """Return both runs' values side by side.

    Args:
        now: This run's table.
        earlier: The earlier run's table.
        keys: What names a row; columns ending in ``_a`` and ``_b`` hold unordered pairs.
        value: The number that is compared.

    Returns:
        The keys, ``now``, ``earlier``, ``change`` (now - earlier; NaN where one is undefined or absent) and
        ``held_by`` (both, now, earlier); rows with the largest absolute change first.

    Raises:
        ValueError: If a table lacks a column.
    """
    sides = {}
    for name, table in (("now", now), ("earlier", earlier)):
        if missing := missing_columns(table, keys, value):
            raise UserError(f"the {name} table lacks the columns {missing}; it has {list(table.columns)}")
        sides[name] = _with_sorted_pairs(table[[*keys, value]].rename(columns={value: name}), keys)
    joined = sides["now"].merge(sides["earlier"], on=list(keys), how="outer", indicator="held_by")
    joined["held_by"] = (
        joined["held_by"].astype(str).map({"both": "both", "left_only": "now", "right_only": "earlier"})
    )
    joined["change"] = joined["now"].astype(float) - joined["earlier"].astype(float)
    largest = joined["change"].abs().sort_values(ascending=False, na_position="last", kind="stable").index
    return joined.loc[largest].reset_index(drop=True)


def missing_columns(table: pd.DataFrame, keys: Sequence[str], value: str) -> list[str]:
    """Return the columns that a table lacks for a comparison, as one of an earlier version may."""
    return [column for column in (*keys, value) if column not in table.columns]


def _with_sorted_pairs(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Pairs are unordered: bring the two names of each row into one order."""
    for first in (key for key in keys if key.endswith("_a")):
        second = f"{first[:-2]}_b"
        names = np.sort(table[[first, second]].astype(str).to_numpy(), axis=1)
        table = table.assign(**{first: names[:, 0], second: names[:, 1]})
    return table


def summarise_changes(compared: pd.DataFrame) -> pd.DataFrame:
    """Return one row per measure: values in both runs, how much they differ, values in one run only."""
    rows = []
    for measure, part in compared.groupby("measure", sort=True):
        change = part["change"].dropna().abs()
        in_both = part["held_by"] == "both"
        rows.append(
            {
                "measure": measure,
                "n_both": int(in_both.sum()),
                "n_changed": int((change > 0).sum()),
                "mean_change": change.mean() if len(change) else float("nan"),
                "largest_change": change.max() if len(change) else float("nan"),
                "n_became_undefined": int((in_both & part["now"].isna() & part["earlier"].notna()).sum()),
                "n_became_defined": int((in_both & part["now"].notna() & part["earlier"].isna()).sum()),
                "n_only_now": int((part["held_by"] == "now").sum()),
                "n_only_earlier": int((part["held_by"] == "earlier").sum()),
            }
        )
    return pd.DataFrame(rows)
