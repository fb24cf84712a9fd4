"""Do networks make the same errors? Predictions of their final probes, compared for all pairs."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.probing.final_predictions import (
    FinalPredictions,
    StoredProbabilities,
    read_final_predictions,
)
from rep_kedro.errors import UserError
from rep_kedro.schemas.probing import PREDICTION_AGREEMENT

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
else:
    ArrowHandle = DataFrame = Tensor = TensorsHandle = Any  # Kedro reads the hints

BLOCK_BYTES = 2**27  # probabilities in memory at once; changes speed, not the result
NO_PROBABILITIES = "no probabilities are stored for {}: set probing.keep_probabilities"


def compare_predictions(
    probes: Mapping[str, TensorsHandle],
    stimulus_subsets: Mapping[str, ArrowHandle],
    model_cards: DataFrame,
) -> DataFrame:
    """Compare the test predictions of the final probes of every unordered pair of networks.

    Args:
        probes: Handles by ``<stimulus set>/<model>``.
        stimulus_subsets: Handles by ``<stimulus set>/<subset>``, for the labels.
        model_cards: One row per network.

    Returns:
        Columns as in docs/tables.md. Error consistency is NaN where it is 0 / 0, the
        Jensen-Shannon divergence where probabilities are not stored; ``reason`` gives the cause.

    Raises:
        ValueError: If a network has no card, or as for ``read_final_predictions``.
    """
    cards = model_cards.set_index("model")
    rows: list[dict[str, Any]] = []
    for found in read_final_predictions(probes, stimulus_subsets):
        missing = [model for model in found.models if model not in cards.index]
        if missing:
            raise UserError(f"networks without a model card: {', '.join(missing)}; run the features pipeline")
        for row in _rows_of(found):
            for trait in ("objective", "architecture"):
                row |= {f"{trait}_{side}": str(cards.at[row[f"model_{side}"], trait]) for side in "ab"}
            rows.append(row)
    return PREDICTION_AGREEMENT.frame(rows)


def _rows_of(found: FinalPredictions) -> Iterator[dict[str, Any]]:
    from rep_kedro.kernels.probes.agreement_bounds import bound_disagreement
    from rep_kedro.kernels.similarity.functional import pairwise_disagreement, pairwise_error_consistency
    from rep_kedro.kernels.undefined import explain

    n_test = len(found.labels)
    n_right = (found.predictions == found.labels).sum(dim=1)
    low, high = bound_disagreement(n_right, n_stimuli=n_test, n_classes=len(found.classes))
    consistency, undefined = pairwise_error_consistency(found.predictions, found.labels)
    matrices = {
        "disagreement": pairwise_disagreement(found.predictions),
        "disagreement_low_bound": low,
        "disagreement_high_bound": high,
        "error_consistency": consistency,
        "jensen_shannon": _compare_probabilities(found),
    }
    accuracies = (n_right.double() / n_test).tolist()
    for i, model_a in enumerate(found.models):
        for j, model_b in enumerate(found.models[i + 1 :], start=i + 1):
            why = explain(undefined.get((i, j), ()), found.models)
            reasons = [f"error consistency: {why}"] if why else []
            without = [model for model in (model_a, model_b) if model not in found.probabilities]
            reasons += [NO_PROBABILITIES.format(" and ".join(without))] if without else []
            yield {
                "stimulus_set": found.stimulus_set,
                "model_a": model_a,
                "model_b": model_b,
                "n_test": n_test,
                "accuracy_a": accuracies[i],
                "accuracy_b": accuracies[j],
                **{name: values[i, j].item() for name, values in matrices.items()},
                "reason": "; ".join(reasons),
            }


def _compare_probabilities(found: FinalPredictions) -> Tensor:
    """Return the mean Jensen-Shannon divergence of all networks, NaN for those without probabilities."""
    import torch

    n_models, n_test = len(found.models), len(found.labels)
    divergence = torch.full((n_models, n_models), torch.nan, dtype=torch.float64)
    places = [i for i, model in enumerate(found.models) if model in found.probabilities]
    if places:
        per_row = 8 * len(places) * len(found.classes)
        blocks = _average_blocks(found.probabilities, n_test, max(1, BLOCK_BYTES // per_row))
        index = torch.tensor(places)
        divergence[index[:, None], index] = blocks
    return divergence


def _average_blocks(probabilities: StoredProbabilities, n_test: int, rows_per_block: int) -> Tensor:
    """Return the mean over all test stimuli from the means over blocks of them."""
    import torch

    from rep_kedro.kernels.similarity.functional import pairwise_jensen_shannon

    total = torch.zeros(len(probabilities), len(probabilities), dtype=torch.float64)
    for start in range(0, n_test, rows_per_block):
        rows = slice(start, min(n_test, start + rows_per_block))
        block = [probabilities.read_rows(model, rows) for model in probabilities]
        total += (rows.stop - start) * pairwise_jensen_shannon(block, memory_bytes=BLOCK_BYTES)
    return total / n_test
