"""Ensembles of a few networks: their accuracy, and how similar their members are, by strategy."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.probing.final_predictions import FinalPredictions, read_final_predictions
from rep_kedro.analyses.selection.model_sets import choose_sets, make_generator
from rep_kedro.analyses.selection.params import ModelSelectionParams, Strategy
from rep_kedro.errors import UserError
from rep_kedro.schemas.probing import MODEL_SELECTION

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
else:
    ArrowHandle = DataFrame = Tensor = TensorsHandle = Any  # so that Kedro can read the hints

MEAN = "mean"
BLOCK_BYTES = 2**27  # probabilities in memory at once; changes speed, not the result
NOT_HELD_OUT = "its networks have no held-out accuracy, and test stimuli must not decide which is best"


@dataclass(frozen=True)
class _Accuracies:
    """Accuracies of the final probes, each of shape (n_models,); networks are chosen by the first."""

    validation: Any
    test: Any


@dataclass(frozen=True)
class Choice:
    """One set of networks, or why there is none.

    Attributes:
        measure: Whose clusters and similarities.
        strategy: How it was chosen.
        n_models: How many networks were wanted.
        draw: Number of the draw.
        members: Indices of the networks; empty without a set.
        reason: Why there is none.
    """

    measure: str
    strategy: Strategy
    n_models: int
    draw: int
    members: tuple[int, ...]
    reason: str = ""


def what_counts(params: ModelSelectionParams) -> dict[str, Any]:
    """Return the parameters that decide the table."""
    return params.model_dump(mode="json", exclude={"criteria"})


def compute_model_selection(
    model_clusters: DataFrame,
    probe_results: DataFrame,
    similarities: DataFrame,
    probes: Mapping[str, TensorsHandle],
    stimulus_subsets: Mapping[str, ArrowHandle],
    params: ModelSelectionParams,
) -> DataFrame:
    """Judge sets of networks by the mean of the probabilities that their final probes give.

    Networks are chosen by their accuracy on held-out training stimuli, and judged on test stimuli.

    Args:
        model_clusters: Clusters by stimulus set and measure; networks and measures that are not there are
            left out.
        probe_results: Accuracies; those of final layers count.
        similarities: Of all pairs; both directions of a directed measure are averaged.
        probes: Handles by ``<stimulus set>/<model>``.
        stimulus_subsets: Handles by ``<stimulus set>/<subset>``, for the labels.
        params: Which sets.

    Returns:
        Columns as in docs/tables.md; accuracies in [0, 1] on the test stimuli.
        ``best_accuracy`` is that of the network that reads the held-out stimuli best; ``ensemble_low`` and
        ``ensemble_high`` bound what the same ensemble would reach on other test stimuli.

    Raises:
        ValueError: As for ``read_final_predictions``.
    """
    measures = list(dict.fromkeys(model_clusters["measure"].astype(str)))
    finals = probe_results[probe_results["is_final"].astype(bool)]
    rows: list[dict[str, Any]] = []
    networks = frozenset(model_clusters["model"])
    for every in read_final_predictions(probes, stimulus_subsets):
        found = _keep(every, networks)
        own = finals[finals["stimulus_set"] == found.stimulus_set].set_index("model")
        accuracies = _Accuracies(
            *(
                own.loc[list(found.models), f"{part}_accuracy"].to_numpy(dtype="float64")
                for part in ("validation", "test")
            )
        )
        choices = []
        for measure in measures:
            clusters = _clusters_of(model_clusters, found, measure, params.clusters_of)
            choices += list(_list_choices(found, measure, accuracies.validation, clusters, params))
        rows += [
            {"stimulus_set": found.stimulus_set, **row}
            for row in _judge(found, choices, accuracies, similarities)
        ]
    return MODEL_SELECTION.frame(rows)


def _keep(every: FinalPredictions, networks: frozenset[str]) -> FinalPredictions:
    """Leave probes of anything but compared networks out, such as those of features side by side."""
    kept = [index for index, model in enumerate(every.models) if model in networks]
    models = tuple(every.models[index] for index in kept)
    return replace(every, models=models, predictions=every.predictions[kept])


def _clusters_of(
    model_clusters: DataFrame, found: FinalPredictions, measure: str, clusters_of: str
) -> dict[int, Any]:
    """Return the cluster of each network by the number of clusters; -1 for a network that has none."""
    wanted = MEAN if clusters_of == MEAN else found.stimulus_set
    rows = model_clusters[
        (model_clusters["measure"] == measure) & (model_clusters["stimulus_set"] == wanted)
    ].dropna(subset=["cluster"])
    by_number = {}
    for n_clusters in rows["n_clusters"].unique().tolist():
        of_models = rows[rows["n_clusters"] == n_clusters].set_index("model")["cluster"]
        by_number[int(n_clusters)] = of_models.reindex(list(found.models)).fillna(-1).to_numpy(dtype="int64")
    return by_number


def _list_choices(
    found: FinalPredictions,
    measure: str,
    accuracies: Any,
    clusters: Mapping[int, Any],
    params: ModelSelectionParams,
) -> Iterator[Choice]:
    """Choose the sets of one measure; the draws of ``random`` are the same for all measures."""
    for strategy in params.strategies:
        for size in params.n_models:
            try:
                sets = choose_sets(
                    strategy,
                    size,
                    accuracies,
                    clusters.get(size),
                    n_draws=params.n_draws,
                    generator=make_generator(params.seed, found.stimulus_set, strategy, size),
                )
            except UserError as problem:
                yield Choice(measure, strategy, size, 0, (), str(problem))
                continue
            for draw, members in enumerate(sets.tolist()):
                yield Choice(measure, strategy, size, draw, tuple(members))


def _judge(
    found: FinalPredictions, choices: Sequence[Choice], accuracies: _Accuracies, similarities: DataFrame
) -> Iterator[dict[str, Any]]:
    """Give a row for each choice; all sets are judged together."""
    import torch

    from rep_kedro.kernels.probes.ensembles import average_within
    from rep_kedro.kernels.probes.probe import bound_share

    members = torch.zeros(len(choices), len(found.models), dtype=torch.bool)
    for row, choice in enumerate(choices):
        members[row, list(choice.members)] = True
    ensembles = _measure_ensembles(found, members)
    similarity_of = torch.full((len(choices),), torch.nan, dtype=torch.float64)
    for measure in {choice.measure for choice in choices}:
        is_own = torch.tensor([choice.measure == measure for choice in choices])
        similarity_of[is_own] = average_within(_matrix_of(similarities, found, measure), members[is_own])
    for choice, ensemble, similarity in zip(choices, ensembles.tolist(), similarity_of.tolist(), strict=True):
        about = {
            **{name: getattr(choice, name) for name in ("measure", "strategy", "n_models", "draw")},
            "models": None,
            "n_test": len(found.labels),
            "reason": choice.reason,
        }
        if choice.members:
            chosen = list(choice.members)
            best = _choose_best(accuracies.validation[chosen])
            low, high = bound_share(ensemble, len(found.labels))
            about |= {
                "models": [found.models[index] for index in chosen],
                "mean_accuracy": float(accuracies.test[chosen].mean()),
                "best_accuracy": nan if best is None else float(accuracies.test[chosen][best]),
                "ensemble_accuracy": ensemble,
                "ensemble_low": low,
                "ensemble_high": high,
                "mean_similarity": similarity,
                "reason": _why_undefined(found, choice, similarity, is_best_known=best is not None),
            }
        yield about


def _choose_best(validation: Any) -> int | None:
    """Return the place of the largest held-out accuracy; None where one is unknown."""
    return None if any(isnan(value) for value in validation) else int(validation.argmax())


def _measure_ensembles(found: FinalPredictions, members: Tensor) -> Tensor:
    """Return the accuracy of each set, NaN where a member has no probabilities; some stimuli at a time."""
    import torch

    from rep_kedro.kernels.probes.ensembles import count_ensemble_hits

    stored = [index for index, model in enumerate(found.models) if model in found.probabilities]
    is_stored = torch.zeros(len(found.models), dtype=torch.bool)
    is_stored[stored] = True
    is_judged = ~(members & ~is_stored).any(dim=1) & members.any(dim=1)
    accuracies = torch.full((len(members),), torch.nan, dtype=torch.float64)
    if not is_judged.any():
        return accuracies
    chosen = members[is_judged][:, stored]
    columns = torch.tensor([found.classes.index(label) for label in found.labels.tolist()])
    n_test = len(columns)
    rows_per_block = max(1, BLOCK_BYTES // (8 * len(found.classes) * (len(stored) + len(chosen))))
    hits = torch.zeros(len(chosen), dtype=torch.int64)
    for start in range(0, n_test, rows_per_block):
        rows = slice(start, min(n_test, start + rows_per_block))
        block = torch.stack([found.probabilities.read_rows(found.models[i], rows) for i in stored])
        hits += count_ensemble_hits(block, columns[rows], chosen)
    accuracies[is_judged] = hits.double() / n_test
    return accuracies


def _matrix_of(similarities: DataFrame, found: FinalPredictions, measure: str) -> Tensor:
    """Return similarities of the networks, both directions averaged; NaN where there are none."""
    import torch

    rows = similarities[
        (similarities["measure"] == measure) & (similarities["stimulus_set"] == found.stimulus_set)
    ]
    place = {model: index for index, model in enumerate(found.models)}
    total = torch.zeros(len(place), len(place), dtype=torch.float64)
    count = torch.zeros_like(total)
    for model_a, model_b, value in zip(rows["model_a"], rows["model_b"], rows["similarity"], strict=True):
        if model_a in place and model_b in place:
            for a, b in ((place[model_a], place[model_b]), (place[model_b], place[model_a])):
                total[a, b] += value
                count[a, b] += 1
    return total / count  # 0 / 0 is NaN


def _why_undefined(found: FinalPredictions, choice: Choice, similarity: float, *, is_best_known: bool) -> str:
    without = [found.models[i] for i in choice.members if found.models[i] not in found.probabilities]
    reasons = []
    if without:
        reasons.append(
            f"no probabilities are stored for {' and '.join(without)}: set probing.keep_probabilities"
        )
    if isnan(similarity):
        reasons.append("a similarity between two of the networks is undefined")
    if not is_best_known:
        reasons.append(NOT_HELD_OUT)
    return "; ".join(reasons)
