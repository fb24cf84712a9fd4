"""Similarities compared with chance, and their uncertainty: permutation nulls, jackknife errors."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from math import factorial, isfinite, isnan
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.similarity.params import InferenceParams, SimilarityParams
from rep_kedro.analyses.similarity.selection import (
    NO_SUBSETS,
    Selection,
    choose_device,
    leave_out_sets,
    select_features,
)
from rep_kedro.datasets import Batch, MemberKey, Plan, Planned, code_revision
from rep_kedro.errors import UserError
from rep_kedro.measures import Inference, Measure, closest_measures, get_measure
from rep_kedro.schemas.similarity import SIMILARITY_INFERENCE

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
else:
    ArrowHandle = DataFrame = TensorsHandle = Any  # so that Kedro can read the hints

_log = logging.getLogger(__name__)
STORED = (
    *("similarity", "standard_error", "similarity_low", "similarity_high", "p_value", "null_mean"),
    *("threshold", "calibrated"),
)
NULLS, INTERVALS = "rep_kedro.analyses.inference.nulls", "rep_kedro.analyses.inference.stimulus_intervals"
RECIPE_PARAMS = {"n_permutations", "n_bootstrap", "confidence", "level", "max_stimuli", "seed"}
UNDEFINED = "the similarity is undefined; the table of similarities says why"
UNDEFINED_BY_RANK = (
    "the similarity is undefined on the stimuli that are used: they do not differ for a network, or the "
    "ranks of two networks add up to more than their number; see similarity_inference.max_stimuli"
)
NO_INTERVAL = "no interval: the similarity is undefined in more than a tenth of the resamples"
BIASED = "the mean over samples of {} stimuli, not the value in their population"
UNBIASED = "the value in the population of stimuli"
RAISE = "raise similarity_inference.n_permutations, or set similarity_inference.correction to maximum"
NOT_RESAMPLED = "no interval: similarity_inference.n_bootstrap is 0"
NOT_PERMUTED = "no p-value: similarity_inference.n_permutations is 0"


def plan_similarity_nulls(
    features: Mapping[str, TensorsHandle],
    similarity: SimilarityParams,
    params: InferenceParams,
    stimulus_subsets: Mapping[str, ArrowHandle] = NO_SUBSETS,
) -> Plan:
    """Plan what chance makes of the similarities, for each stimulus set and chosen measure.

    Args:
        features: Handles by ``<stimulus set>/<model>``; nothing is read while planning.
        similarity: Which networks, stimulus sets, stimuli and layers, transformed how.
        params: Which measures, how many permutations.
        stimulus_subsets: Handles by ``<stimulus set>/<subset>``; ids are read where a subset is named.

    Returns:
        Plan by ``<stimulus set>/<measure>``; empty without permutations and resamples. A member contains one
        matrix (n_models, n_models) for each entry of ``nulls.summarise_null`` and
        ``stimulus_intervals.summarise_bootstrap``; meta: ``labels``, ``n_stimuli``, ``n_permutations``,
        ``n_bootstrap``, ``no_interval`` (why the measure has no intervals, or nothing) and ``largest_value``
        (that the measure can have, null for none).

    Raises:
        ValueError: If a measure has no null, or as for the similarity matrices.
    """
    if not (params.n_permutations or params.n_bootstrap):
        return Plan()
    measures = [require_null(measure_id) for measure_id in params.measures]
    plan = Plan()
    leave_out_sets(plan, params.measures, features, similarity, stimulus_subsets)
    for selection in select_features(features, similarity, stimulus_subsets):
        layers = selection.layers(similarity.layer)
        batch = _null_batch(selection, layers, similarity, params)
        members = {}
        for measure, inference in measures:
            recipe = {
                "measure": measure.recipe(),
                "inference": inference.recipe(),
                "features": selection.references,
                "layers": layers,
                **params.model_dump(include=RECIPE_PARAMS),
                "code": code_revision(NULLS, INTERVALS),
            }
            members[measure.id] = Planned(recipe, batch)
        selection.enter(plan, members)
    return plan


def require_null(measure_id: str) -> tuple[Measure, Inference]:
    """Return a measure that has a permutation null, and what is known of it.

    Raises:
        ValueError: If it has none.
    """
    measure = get_measure(measure_id)
    if measure.inference is None:
        others = ", ".join(closest_measures(measure_id, lambda other: other.inference is not None))
        raise UserError(
            f"measure {measure_id!r} has no permutation null; {others} and others have one: change"
            " similarity_inference.measures"
        )
    return measure, measure.inference


def tabulate_similarity_inference(
    similarity_nulls: Mapping[str, TensorsHandle], params: InferenceParams
) -> DataFrame:
    """List the comparison with chance for every unordered pair of networks.

    Args:
        similarity_nulls: Handles by ``<stimulus set>/<measure>``.
        params: How p-values are corrected for the number of pairs.

    Returns:
        Columns as in docs/tables.md. ``p_adjusted`` is corrected for the pairs of the same
        stimulus set and measure; ``n_tests`` counts them, ``p_smallest`` is the smallest corrected p-value
        that was possible. Where that is above the level, the log reports it. ``is_biased`` says whether the
        similarity depends on the number of stimuli, and ``interval_covers`` what its interval is for.
    """
    from rep_kedro.kernels.statistics.families import explain_hopeless

    rows: list[dict[str, Any]] = []
    for key, handle in sorted(similarity_nulls.items()):
        stimulus_set, measure_id = MemberKey.parse(key)
        measure, inference = require_null(measure_id)
        undefined = UNDEFINED if measure.fewest_stimuli.counts == "nothing" else UNDEFINED_BY_RANK
        covered = BIASED.format(handle.meta["n_stimuli"]) if inference.is_biased else UNBIASED
        own = list(_rows_of(handle, params.correction, undefined))
        least = min((row["p_smallest"] for row in own if row["n_tests"]), default=0.0)
        if why := explain_hopeless("similarities", own[0]["n_tests"] if own else 0, least):
            _log.warning("%s on %s: %s; %s", measure_id, stimulus_set, why, RAISE)
        for row in own:
            has_interval = not isnan(row["similarity_low"])
            rows.append(
                {
                    "stimulus_set": stimulus_set,
                    "measure": measure_id,
                    **row,
                    "is_biased": inference.is_biased,
                    "interval_covers": covered if has_interval else "",
                }
            )
    return SIMILARITY_INFERENCE.frame(rows)


def _rows_of(handle: TensorsHandle, correction: str, undefined: str) -> Iterator[dict[str, Any]]:
    import numpy as np
    import torch

    from rep_kedro.kernels.statistics.families import correct_families

    labels = list(handle.meta["labels"])
    upper = np.triu_indices(len(labels), k=1)
    values = {name: np.array(handle.tensor(name))[upper] for name in STORED}
    p_values = torch.from_numpy(values["p_value"])
    smallest = torch.full_like(p_values, _smallest_p(handle.meta))
    families = torch.zeros(len(p_values), dtype=torch.int64)
    corrected = correct_families(
        p_values, smallest, families, method="holm" if correction == "maximum" else correction
    )
    adjusted, p_smallest = corrected.p_adjusted.numpy(), corrected.p_smallest.numpy()
    if correction == "maximum":
        adjusted = np.array(handle.tensor("p_maximum"))[upper]
        p_smallest = np.where(np.isnan(adjusted), np.nan, _smallest_p(handle.meta))
    for index, (i, j) in enumerate(zip(*upper, strict=True)):
        row = {name: float(column[index]) for name, column in values.items()}
        yield {
            "model_a": labels[i],
            "model_b": labels[j],
            **row,
            "p_adjusted": float(adjusted[index]),
            "p_smallest": float(p_smallest[index]),
            "n_tests": int(corrected.n_tests[index]),
            **{name: int(handle.meta[name]) for name in ("n_stimuli", "n_permutations", "n_bootstrap")},
            "reason": undefined if isnan(row["similarity"]) else _reason_of(row, handle.meta),
        }


def _smallest_p(meta: Mapping[str, Any]) -> float:
    """Return the smallest p-value that permutations of the stimuli can give."""
    return max(1 / (int(meta["n_permutations"]) + 1), 1 / factorial(int(meta["n_stimuli"])))


def _reason_of(row: Mapping[str, float], meta: Mapping[str, Any]) -> str:
    """Return why the p-value or the interval of a similarity is missing; empty where none is."""
    reasons = [] if meta["n_permutations"] else [NOT_PERMUTED]
    if meta["no_interval"]:
        reasons.append(str(meta["no_interval"]))
    elif isnan(row["similarity_low"]):
        reasons.append(NO_INTERVAL)
    return "; ".join(reasons)


def _null_batch(
    selection: Selection, layers: Mapping[str, str], similarity: SimilarityParams, params: InferenceParams
) -> Batch:
    def compute(keys: Sequence[str]) -> Iterator[tuple[str, object]]:
        from rep_kedro.analyses.inference.nulls import draw_stimuli, summarise_null
        from rep_kedro.analyses.inference.stimulus_intervals import summarise_bootstrap
        from rep_kedro.datasets import Tensors
        from rep_kedro.kernels.similarity.model_pairs import mirror

        representations = selection.load(layers)
        n_stimuli = len(next(iter(representations.values())))
        chosen = draw_stimuli(n_stimuli, params.max_stimuli, params.seed)
        device = choose_device(similarity.device)
        used = [x[chosen].to(device) for x in representations.values()]
        for key in keys:
            measure, inference = require_null(MemberKey.parse(key).name)
            found = summarise_null(
                used,
                measure,
                n_permutations=params.n_permutations,
                level=params.level,
                seed=params.seed,
            )
            found |= summarise_bootstrap(
                used,
                measure,
                n_bootstrap=params.n_bootstrap,
                confidence=params.confidence,
                seed=params.seed,
            )
            largest = measure.value_range[1]
            meta = {
                "labels": list(representations),
                "n_stimuli": len(chosen),
                "n_permutations": params.n_permutations,
                "n_bootstrap": 0 if inference.no_interval else params.n_bootstrap,
                "no_interval": inference.no_interval if params.n_bootstrap else NOT_RESAMPLED,
                "largest_value": largest if isfinite(largest) else None,
            }
            yield key, Tensors({name: mirror(values) for name, values in found.items()}, meta)

    return Batch(compute)
