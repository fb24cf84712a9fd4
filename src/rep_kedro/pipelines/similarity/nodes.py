"""Nodes of the similarity pipeline: what is to be compared; the collection decides what is to do."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from rep_kedro.datasets import Batch, Planned, code_revision
from rep_kedro.measures import Measure, get_measure
from rep_kedro.pipelines.similarity.params import SimilarityParams

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import LabelledMatrix, MatrixHandle, TensorsHandle
else:
    DataFrame = LabelledMatrix = MatrixHandle = TensorsHandle = Any  # so that Kedro can read the hints

PAIR_SEPARATOR = " / "
_CARD_COLUMNS = ("objective", "architecture")


def plan_similarity_matrices(
    features: Mapping[str, TensorsHandle], params: SimilarityParams
) -> dict[str, Planned]:
    """Plan one similarity matrix for each stimulus set and measure.

    The measures of one stimulus set share a batch: what they have in common is computed once.

    Args:
        features: Handles by ``<stimulus set>/<model>``; nothing is read while planning.
        params: Which networks, stimulus sets and measures to compare.

    Returns:
        Plan by ``<stimulus set>/<measure>``. A matrix has shape (n_models, n_models); both axes carry the
        network names in alphabetical order.

    Raises:
        ValueError: If a chosen stimulus set, network or layer has no features, or two networks saw other
            stimuli or saw them in another order.
    """
    available: dict[str, list[str]] = {}
    for key in sorted(features):
        stimulus_set, _, model = key.partition("/")
        available.setdefault(stimulus_set, []).append(model)
    measures = [get_measure(measure_id) for measure_id in params.measures]
    plan = {}
    for stimulus_set in _choose("stimulus set", params.stimulus_sets, list(available)):
        models = _choose("network", params.models, available[stimulus_set])
        handles = {model: features[f"{stimulus_set}/{model}"] for model in models}
        _require_same_stimuli(stimulus_set, handles)
        layers = {model: _layer_of(handle, params.layer) for model, handle in handles.items()}
        batch = _comparison_batch(stimulus_set, handles, layers, params)
        for measure in measures:
            recipe = {
                "measure": measure.recipe(),
                "features": [handle.reference for handle in handles.values()],
                "layers": layers,
                "code": code_revision(measure.module, "rep_kedro.measures.compare"),
            }
            plan[f"{stimulus_set}/{measure.id}"] = Planned(recipe, batch)
    return plan


def tabulate_similarities(
    similarity_matrices: Mapping[str, MatrixHandle], model_cards: DataFrame
) -> DataFrame:
    """List every unordered pair of different networks once per stimulus set and measure.

    A directed measure gives two rows per pair, one for each direction.

    Args:
        similarity_matrices: Handles by ``<stimulus set>/<measure>``.
        model_cards: One row per network.

    Returns:
        Columns as in docs/architecture.md, section 3; NaN similarities keep their reason.

    Raises:
        ValueError: If a network has no card.
    """
    import pandas as pd

    cards = model_cards.set_index("model")
    rows: list[dict[str, Any]] = []
    for key, handle in sorted(similarity_matrices.items()):
        stimulus_set, _, measure_id = key.partition("/")
        matrix = handle.matrix()
        missing = sorted(set(matrix.labels) - set(cards.index))
        if missing:
            raise ValueError(
                f"networks without a model card: {', '.join(missing)}; run the features pipeline"
            )
        rows += _rows_of(matrix, stimulus_set, get_measure(measure_id), cards)
    return pd.DataFrame(rows)


def _rows_of(
    matrix: LabelledMatrix, stimulus_set: str, measure: Measure, cards: DataFrame
) -> Iterator[dict[str, Any]]:
    facts = {model: {name: str(cards.at[model, name]) for name in _CARD_COLUMNS} for model in matrix.labels}
    for i, model_a in enumerate(matrix.labels):
        for j, model_b in enumerate(matrix.labels):
            if i == j or (measure.symmetric and j < i):
                continue
            row: dict[str, Any] = {
                "stimulus_set": stimulus_set,
                "measure": measure.id,
                "model_a": model_a,
                "model_b": model_b,
                "similarity": float(matrix.values[i, j]),
                "reason": matrix.reasons.get((model_a, model_b), ""),
            }
            for name in _CARD_COLUMNS:
                pair = (facts[model_a][name], facts[model_b][name])
                row[f"{name}_a"], row[f"{name}_b"] = pair
                row[f"{name}_pair"] = PAIR_SEPARATOR.join(sorted(pair))
            yield row


def _comparison_batch(
    stimulus_set: str,
    handles: Mapping[str, TensorsHandle],
    layers: Mapping[str, str],
    params: SimilarityParams,
) -> Batch:
    def compute(keys: Sequence[str]) -> Iterator[tuple[str, object]]:
        import numpy as np
        import torch

        from rep_kedro.datasets import LabelledMatrix
        from rep_kedro.measures import compare_models

        labels = tuple(handles)
        representations = [
            torch.from_numpy(np.array(handle.tensor(layers[model]))) for model, handle in handles.items()
        ]
        _require_finite(stimulus_set, labels, representations)
        found = compare_models(
            representations,
            [key.partition("/")[2] for key in keys],
            memory_bytes=params.memory_bytes,
            device=choose_device(params.device),
        )
        n_stimuli = len(representations[0])
        widths = [x.shape[1] for x in representations]
        for measure_id, comparison in found:
            reasons = {(labels[i], labels[j]): why for (i, j), why in comparison.reasons.items()}
            meta = {"n_stimuli": n_stimuli, "n_features": widths, "measure": get_measure(measure_id).recipe()}
            yield (
                f"{stimulus_set}/{measure_id}",
                LabelledMatrix(comparison.values, labels, reasons, meta),
            )

    return Batch(compute)


def choose_device(name: str) -> str:
    """Return the device to compute on: ``auto`` means the first GPU where there is one, else the CPU."""
    if name != "auto":
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _choose(kind: str, wanted: str | list[str], available: list[str]) -> list[str]:
    """Return the wanted names, sorted, or all that are available.

    Raises:
        ValueError: If one is not available; the message has close matches.
    """
    if isinstance(wanted, str):
        return sorted(available)
    for name in wanted:
        if name not in available:
            close = get_close_matches(name, available, n=3)
            hint = f"did you mean {' or '.join(close)}" if close else f"there are: {', '.join(available)}"
            raise ValueError(f"no features of {kind} {name!r}; {hint}")
    return sorted(set(wanted))


def _layer_of(handle: TensorsHandle, layer: str) -> str:
    name = str(handle.meta["final_layer"]) if layer == "final" else layer
    if name not in handle.meta["layers"]:
        raise ValueError(f"{handle.key} has no layer {name!r}; there are: {', '.join(handle.meta['layers'])}")
    return name


def _require_same_stimuli(stimulus_set: str, handles: Mapping[str, TensorsHandle]) -> None:
    by_ids: dict[str, list[str]] = {}
    for model, handle in handles.items():
        by_ids.setdefault(str(handle.meta["stimulus_ids_sha256"]), []).append(model)
    if len(by_ids) > 1:
        groups = " and ".join(", ".join(models[:3]) for models in by_ids.values())
        raise ValueError(f"networks saw other stimuli of {stimulus_set}, or in another order: {groups}")


def _require_finite(stimulus_set: str, labels: Sequence[str], representations: Sequence[Any]) -> None:
    for model, x in zip(labels, representations, strict=True):
        bad = (~x.isfinite()).sum().item()
        if bad:
            raise ValueError(
                f"features {stimulus_set}/{model} hold {bad} values that are NaN or infinite; "
                f"rebuild them with --params recompute=features/{stimulus_set}/{model}"
            )
