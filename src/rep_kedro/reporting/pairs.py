"""Pairs of networks over stimulus sets: one row per pair, one column per stimulus set."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from rep_kedro.reporting.names import Kind
from rep_kedro.reporting.tables import in_order

PAIR = ("model_a", "model_b")
KIND = ("value_a", "value_b")


def pairs_by_set(similarities: pd.DataFrame) -> pd.DataFrame:
    """Return the similarities of one measure, a row per pair of networks and a column per stimulus set.

    Args:
        similarities: The contract's table, rows of one measure.

    Returns:
        float64, NaN where undefined or absent; index levels ``model_a``, ``model_b``, and ``value_a``,
        ``value_b``: the objectives of the two, in alphabetical order.
    """
    index = [*PAIR, *KIND]
    similarities = with_kinds(similarities, "objective")
    if not len(similarities):
        empty = pd.MultiIndex.from_arrays([[], [], [], []], names=index)
        return pd.DataFrame(index=empty, dtype=np.float64)
    wide = similarities.pivot_table(
        index=index, columns="stimulus_set", values="similarity", aggfunc="first", dropna=False, sort=False,
        observed=True,
    )  # fmt: skip
    held = pd.MultiIndex.from_frame(similarities[index].drop_duplicates())
    return wide.reindex(held)[in_order(similarities["stimulus_set"])]


def with_kinds(pairs: pd.DataFrame, trait: str) -> pd.DataFrame:
    """Return pairs of networks with what the two are, in alphabetical order, as ``value_a`` and ``value_b``.

    Args:
        pairs: With the columns ``<trait>_a`` and ``<trait>_b``.
        trait: ``objective`` or ``architecture``.
    """
    names = np.sort(pairs[[f"{trait}_a", f"{trait}_b"]].astype(str).to_numpy(dtype=object), axis=1)
    return pairs.assign(value_a=names[:, 0], value_b=names[:, 1])


def kinds_of(rows: pd.DataFrame) -> list[Kind]:
    """Return the kinds of pair of each row, from its columns or index levels ``value_a`` and ``value_b``."""
    sides = [rows[side] if side in rows else rows.index.get_level_values(side) for side in KIND]
    return list(zip(*(map(str, side) for side in sides), strict=True))


def of_kind(rows: pd.DataFrame, kind: Kind) -> pd.DataFrame:
    """Return the rows of one kind of pair."""
    return rows.loc[np.array([own == kind for own in kinds_of(rows)], dtype=bool)]  # also of no rows


def names_of(pairs: pd.DataFrame) -> dict[str, Any]:
    """Return the two networks of each pair, from columns or index levels, as the columns of marks."""
    sides = [pairs[side] if side in pairs else pairs.index.get_level_values(side) for side in PAIR]
    return {
        name: [str(model) for model in side]
        for name, side in zip(("network", "other network"), sides, strict=True)
    }


def mean_and_spread(wide: pd.DataFrame, *, is_angle: bool = False) -> pd.DataFrame:
    """Return mean and population standard deviation of each pair over all stimulus sets.

    Args:
        wide: As :func:`pairs_by_set` gives it.
        is_angle: Take the angle, arccos of the similarity in radians, instead of the similarity.

    Returns:
        Columns ``mean``, ``std``; pairs that are undefined on any set are left out, and so are those whose
        similarity has no angle (outside -1 to 1).
    """
    values = wide.to_numpy(dtype=np.float64)
    if is_angle:
        values = np.arccos(np.where(np.abs(values) <= 1.0, values, np.nan))
    is_whole = np.isfinite(values).all(axis=1)
    values = values[is_whole]
    return pd.DataFrame(
        {"mean": values.mean(axis=1), "std": values.std(axis=1)} if values.size else {"mean": [], "std": []},
        index=wide.index[is_whole],
    )


def square(values: pd.Series, models: Sequence[str]) -> pd.DataFrame:
    """Return one value per pair as a symmetric frame; NaN on the diagonal and where a pair has none."""
    frame = pd.DataFrame(np.nan, index=list(models), columns=list(models))
    places = {model: index for index, model in enumerate(models)}
    array = frame.to_numpy(copy=True)
    pairs = zip(*(values.index.get_level_values(name) for name in PAIR), strict=True)
    for (a, b), value in zip(pairs, values, strict=True):
        array[places[a], places[b]] = array[places[b], places[a]] = value
    return pd.DataFrame(array, index=frame.index, columns=frame.columns)
