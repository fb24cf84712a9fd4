"""The tables of consistency over stimulus sets: they have the same inputs, so one node makes them."""

from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.consistency.anchors import compare_anchors
from rep_kedro.analyses.consistency.consistency import compute_consistency, summarise_consistency
from rep_kedro.analyses.similarity.params import ConsistencyParams

if TYPE_CHECKING:
    from pandas import DataFrame
else:
    DataFrame = Any  # Kedro reads the hints


def tabulate_consistency(
    similarities: DataFrame, model_cards: DataFrame, params: ConsistencyParams
) -> tuple[DataFrame, DataFrame, DataFrame]:
    """Return how well similarities on one stimulus set carry over to another.

    Returns:
        Tables `consistency` (pairs of stimulus sets), `consistency_summary` (over all pairs) and
        `anchor_comparisons` (values of an attribute, by anchor); columns as in docs/tables.md.
    """
    return (
        compute_consistency(similarities, model_cards, params),
        summarise_consistency(similarities, model_cards, params),
        compare_anchors(similarities, model_cards, params),
    )
