"""What the report reads: the tables' columns, and the small selections that several figures need.

Selections only: nothing is estimated here. A table without rows is a valid answer of a run that was asked for
nothing; a table that lacks a column is an error.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rep_kedro.datasets import MemberKey
from rep_kedro.reporting.names import UNKNOWN, written
from rep_kedro.schemas import TABLES

if TYPE_CHECKING:
    from rep_kedro.datasets import MatrixHandle
    from rep_kedro.reporting.style import Palette


def require_table(name: str, table: pd.DataFrame | None) -> pd.DataFrame:
    """Return a table with at least its contract's columns; a missing or empty one becomes a typed empty one.

    Raises:
        ValueError: If a table with rows lacks columns.
    """
    if table is None or not len(table):
        return TABLES[name].frame([])
    missing = [column for column in TABLES[name].names if column not in table.columns]
    if missing:
        raise ValueError(f"table {name!r} lacks the columns {missing}; it has {list(table.columns)}")
    return table


def palette_of(model_cards: pd.DataFrame) -> "Palette":
    """Return the run's palette, from the objectives of its model cards."""
    from rep_kedro.reporting.style import palette_for  # draws; who only reads tables does not wait for it

    return palette_for(str(name) for name in model_cards["objective"].dropna())


def trait_of(model_cards: pd.DataFrame, trait: str) -> dict[str, str]:
    """Return one trait (objective, architecture) by network, as text."""
    return {
        str(model): UNKNOWN if pd.isna(value) else str(value)
        for model, value in zip(model_cards["model"], model_cards[trait], strict=True)
    }


def network_columns(models: Iterable[Any], model_cards: pd.DataFrame) -> dict[str, Any]:
    """Return networks with objective and architecture, as the columns of marks."""
    names = [str(model) for model in models]
    traits = {trait: trait_of(model_cards, trait) for trait in ("objective", "architecture")}
    return {
        "network": names,
        **{trait: [written(held.get(name, UNKNOWN)) for name in names] for trait, held in traits.items()},
    }


def with_traits(table: pd.DataFrame, model_cards: pd.DataFrame, model_column: str = "model") -> pd.DataFrame:
    """Return the table with the columns ``objective`` and ``architecture`` of the named network."""
    return table.assign(
        **{
            trait: [trait_of(model_cards, trait).get(str(model), UNKNOWN) for model in table[model_column]]
            for trait in ("objective", "architecture")
        }
    )


def in_order(values: Iterable[Any]) -> list[str]:
    """Return the different values as text, in the order in which they first appear."""
    return list(dict.fromkeys(str(value) for value in values))


def objectives_in_order(names: Iterable[str]) -> list[str]:
    """Return objectives by name with the untrained and the unknown last, where they serve as a reference."""
    return sorted(set(names), key=lambda name: (name == UNKNOWN, name == "untrained", name))


def groups_of_sets(stimulus_cards: pd.DataFrame) -> dict[str, str]:
    """Return the group of each stimulus set that has one."""
    known = stimulus_cards.dropna(subset=["group"])
    return {str(name): str(group) for name, group in zip(known["stimulus_set"], known["group"], strict=True)}


def layers_in_order(table: pd.DataFrame) -> list[str]:
    """Return the layers from input to output."""
    depths = table.groupby("layer", sort=False)["depth"].min()
    return [str(layer) for layer in depths.sort_values(kind="stable").index]


def matrices_of(handles: "Mapping[str, MatrixHandle]", measure: str) -> dict[str, pd.DataFrame]:
    """Return the matrices of one measure by stimulus set, as frames labelled by network."""
    frames = {}
    for key in sorted(handles):
        stimulus_set, member_measure = MemberKey.parse(key)
        if member_measure == measure:
            matrix = handles[key].matrix()
            labels = [str(label) for label in matrix.labels]
            frames[stimulus_set] = pd.DataFrame(
                np.asarray(matrix.values, dtype=np.float64), index=labels, columns=labels
            )
    return frames


def mean_matrix(matrices: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the mean over stimulus sets, of the networks that all of them compare.

    It is undefined where one of the sets has no value, so that no mean is over fewer sets.
    """
    frames = list(matrices.values())
    labels = [label for label in frames[0].index if all(label in frame.index for frame in frames)]
    stack = np.stack([frame.loc[labels, labels].to_numpy() for frame in frames])
    return pd.DataFrame(stack.mean(axis=0), index=labels, columns=labels)


def cluster_order(mean: pd.DataFrame) -> list[str]:
    """Return the networks ordered by average-linkage clustering of 1 - similarity.

    For the order alone, undefined entries count as the smallest defined one.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    labels = [str(label) for label in mean.index]
    values = mean.to_numpy(dtype=np.float64, copy=True)
    defined = values[np.isfinite(values)]
    if len(labels) < 3 or not defined.size:
        return labels
    values[~np.isfinite(values)] = defined.min()
    distance = 1.0 - (values + values.T) / 2
    np.fill_diagonal(distance, 0.0)
    tree = linkage(
        squareform(np.maximum(distance, 0.0), checks=False), method="average", optimal_ordering=True
    )
    return [labels[index] for index in leaves_list(tree)]


def final_layers(probe_results: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of each network's final layer."""
    return probe_results[probe_results["is_final"].astype(bool)]


def best_layers(probe_results: pd.DataFrame) -> pd.DataFrame:
    """Return the layer that reads held-out training images best, per stimulus set and network.

    The earlier on ties, and none of a network without such accuracies: layers are not chosen on test images.
    """
    known = probe_results.dropna(subset=["validation_accuracy"]).sort_values("depth", kind="stable")
    if not len(known):
        return known
    best = known.groupby(["stimulus_set", "model"], sort=False)["validation_accuracy"].idxmax()
    return known.loc[best].sort_values(["stimulus_set", "model"], kind="stable")


def performance_gaps(similarities: pd.DataFrame, probe_results: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return similarity, gap and larger accuracy per pair of networks and stimulus set.

    Args:
        similarities: The contract's table.
        probe_results: The contract's table; the final layer of each network counts.
        measure: Which similarity.

    Returns:
        Columns stimulus_set, model_a, model_b, similarity, gap, larger_accuracy (fractions in [0, 1]);
        only pairs with both accuracies and a defined similarity.
    """
    columns = ["stimulus_set", "model_a", "model_b", "similarity", "gap", "larger_accuracy"]
    final = final_layers(probe_results)[["stimulus_set", "model", "test_accuracy"]]
    pairs = similarities[similarities["measure"] == measure]
    if not len(pairs) or not len(final):
        return pd.DataFrame({column: pd.Series(dtype="float64") for column in columns})
    for side in ("a", "b"):
        renamed = final.rename(columns={"model": f"model_{side}", "test_accuracy": f"accuracy_{side}"})
        pairs = pairs.merge(renamed, on=["stimulus_set", f"model_{side}"], how="inner")
    pairs = pairs.dropna(subset=["similarity", "accuracy_a", "accuracy_b"])
    accuracies = pairs[["accuracy_a", "accuracy_b"]].astype(float)
    return pairs.assign(
        gap=(accuracies["accuracy_a"] - accuracies["accuracy_b"]).abs(),
        larger_accuracy=accuracies.max(axis=1),
    )[columns].reset_index(drop=True)


def rank_and_accuracy(
    layer_diagnostics: pd.DataFrame, probe_results: pd.DataFrame, delta: float
) -> pd.DataFrame:
    """Return RankMe and probe accuracy of each network's final layer per stimulus set."""
    ranks = at_delta(layer_diagnostics, delta)[["stimulus_set", "model", "layer", "rankme"]]
    final = final_layers(probe_results)[["stimulus_set", "model", "layer", "test_accuracy"]]
    joined = ranks.merge(final, on=["stimulus_set", "model", "layer"], how="inner")
    return joined.dropna(subset=["rankme", "test_accuracy"]).reset_index(drop=True)


def at_delta(layer_diagnostics: pd.DataFrame, delta: float) -> pd.DataFrame:
    """Return the rows of one threshold delta; of the nearest one where it was not computed."""
    return layer_diagnostics[layer_diagnostics["delta"] == nearest_delta(layer_diagnostics, delta)]


def nearest_delta(layer_diagnostics: pd.DataFrame, delta: float) -> float:
    """Return the computed threshold that is nearest to the wanted one; NaN without rows."""
    known = layer_diagnostics["delta"].dropna().astype(float).unique()
    return float(min(known, key=lambda value: abs(value - delta))) if len(known) else float("nan")


def pearson(x: pd.Series, y: pd.Series) -> float:
    """Return Pearson's r of two columns; NaN with fewer than three rows or a constant column."""
    a, b = x.to_numpy(dtype=np.float64), y.to_numpy(dtype=np.float64)
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def chosen_stimulus_set(wanted: str | None, *tables: pd.DataFrame) -> str | None:
    """Return the stimulus set to show per layer: the wanted one, else the first that all have, else None."""
    sets = [in_order(table["stimulus_set"]) for table in tables if len(table)]
    if wanted is not None and any(wanted in names for names in sets):
        return wanted
    shared = [name for name in (sets[0] if sets else []) if all(name in names for names in sets)]
    return shared[0] if shared else (sets[0][0] if sets else None)
