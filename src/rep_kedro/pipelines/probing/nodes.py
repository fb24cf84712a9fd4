"""Nodes of the probing pipeline: they plan the probes; the collection decides what to compute."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.probing.fitting import make_probes, require_room
from rep_kedro.analyses.probing.labels import choose_label, count_training, is_several, label_frame
from rep_kedro.analyses.probing.params import ProbingParams
from rep_kedro.analyses.probing.solver_params import AdamWParams, KnnParams, MlpParams
from rep_kedro.analyses.probing.sources import list_sources, probe_source
from rep_kedro.datasets import MemberKey, Plan, Planned, code_revision, missing_of
from rep_kedro.errors import UserError, require_known
from rep_kedro.features import FeatureSource
from rep_kedro.schemas.probing import PROBE_RESULTS

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
else:
    DataFrame = ArrowHandle = TensorsHandle = Any  # Kedro reads the hints

_log = logging.getLogger(__name__)


def plan_probes(
    features: Mapping[str, TensorsHandle], stimulus_subsets: Mapping[str, ArrowHandle], params: ProbingParams
) -> Plan:
    """Plan the probes of each stimulus set and network: one for each stored layer; and of combinations.

    Args:
        features: Handles by ``<stimulus set>/<model>``; not read while planning.
        stimulus_subsets: Handles by ``<stimulus set>/<subset>``; labels and splits are read while planning.
        params: What to probe and how. Sets with too few classes are left out, and the log reports it.

    Returns:
        Plan by ``<stimulus set>/<model>``, or ``<stimulus set>/<combination>``; those whose features or
        stimuli are missing are left out.

    Raises:
        ValueError: If a chosen stimulus set, network or subset is not there, a chosen set has too few
            classes, a subset has stimuli that the features do not have, a combination cannot be made, or a
            single probe does not fit into the memory of its solver.
    """
    plan, chosen = Plan(), {}
    for stimulus_set, models in _choose_sets({**features, **missing_of(features)}, params).items():
        absent = _find_absent(stimulus_set, models, features, stimulus_subsets, params)
        plan.left_out |= absent
        here = [model for model in models if str(MemberKey(stimulus_set, model)) not in absent]
        if here:
            subset = _require_name(
                "stimulus subset", str(MemberKey(stimulus_set, params.subset)), stimulus_subsets
            )
            if _has_classes(stimulus_set, stimulus_subsets[subset], params):
                chosen[stimulus_set] = (here, subset)
    for source in list_sources(features, stimulus_subsets, chosen, params, plan.left_out):
        seen = stimulus_subsets[chosen[MemberKey.parse(source.key).stimulus_set][1]]
        if source.key in features and not params.transform:  # a transform may lower the number of features
            _require_room(features[source.key], seen, params)
        plan[source.key] = _plan_one(source, features, seen, params)
    return plan


def _require_room(features: TensorsHandle, subset: ArrowHandle, params: ProbingParams) -> None:
    """Refuse probes that do not fit into the memory of their solver, where it has a limit of weights."""
    if not isinstance(params.fit, AdamWParams | MlpParams):
        return
    shapes = {name: features.shape(name)[1:] for name in features.meta["layers"]}
    n_of_class = count_training(subset, choose_label(subset, params.labels))
    require_room(("probing.fit", params.fit), shapes, n_of_class, params.few_shot, features.key)


def _plan_one(
    source: FeatureSource, features: Mapping[str, TensorsHandle], subset: ArrowHandle, params: ProbingParams
) -> Planned:
    recipe = {
        "features": source.reference,
        "stimulus_subset": subset.reference,
        "label": choose_label(subset, params.labels),
        "fit": params.fit.model_dump(mode="json"),
        "held_out_fraction": params.held_out_fraction,
        "keep_probabilities": params.keep_probabilities,
        "keep_logits": params.keep_logits,
        "few_shot": params.few_shot,
        "class_weights": params.class_weights,
        "seeds": list(params.all_seeds),
        "code": code_revision("rep_kedro.analyses.probing.fitting"),
    }
    if source.is_plain:
        return Planned(recipe, partial(make_probes, features[source.key], subset, params))
    return Planned(recipe, partial(probe_source, source, subset, params))


def tabulate_probe_results(probes: Mapping[str, TensorsHandle]) -> DataFrame:
    """List the accuracy of each probe.

    Args:
        probes: Handles by ``<stimulus set>/<model>``.

    Returns:
        Columns as in docs/tables.md; what a solver does not choose is missing, ``validation_accuracy`` where
        no training stimuli could be held out. ``test_low`` and ``test_high`` bound what the same probe would
        reach on other test stimuli, ``seeds_low`` and ``seeds_high`` what other seeds would on average.
    """
    from rep_kedro.kernels.probes.probe import bound_mean, bound_share

    rows = []
    for key in sorted(probes):
        stimulus_set, model = MemberKey.parse(key)
        about = {"stimulus_set": stimulus_set, "model": model, "label": probes[key].meta["label"]}
        for row in probes[key].meta["layers"]:
            low, high = bound_share(row["test_accuracy"], row["n_test"])
            found = [each["test_accuracy"] for each in row.get("by_seed", [row])]
            ends = bound_mean(found) if len(found) > 1 else (None, None)
            weighting = None if row["weighting"] is None else str(row["weighting"])
            counted = {
                "test_low": low,
                "test_high": high,
                "n_seeds": len(found),
                "seeds_mean": sum(found) / len(found),
                "seeds_low": ends[0],
                "seeds_high": ends[1],
                "weighting": weighting,
            }
            rows.append(PROBE_RESULTS.pick({**about, **row, **counted}))
    return PROBE_RESULTS.frame(rows)


def _choose_sets(features: Mapping[str, object], params: ProbingParams) -> dict[str, list[str]]:
    """Return the chosen networks of each chosen stimulus set, sorted."""
    available: dict[str, list[str]] = {}
    for key in sorted(features):
        stimulus_set, model = MemberKey.parse(key)
        available.setdefault(stimulus_set, []).append(model)
    wanted = available if isinstance(params.stimulus_sets, str) else params.stimulus_sets
    chosen = {}
    for stimulus_set in wanted:
        known = available[_require_name("stimulus set with features", stimulus_set, available)]
        models = known if isinstance(params.models, str) else params.models
        chosen[stimulus_set] = [
            _require_name(f"network with features of {stimulus_set}", model, known) for model in models
        ]
    return chosen


def _find_absent(
    stimulus_set: str,
    models: list[str],
    features: Mapping[str, TensorsHandle],
    stimulus_subsets: Mapping[str, ArrowHandle],
    params: ProbingParams,
) -> dict[str, str]:
    """Return why networks and combinations cannot be probed on a stimulus set, by key."""
    members = {model: [model] for model in models}
    members |= {name: list(combination.models) for name, combination in params.combinations.items()}
    subset = str(MemberKey(stimulus_set, params.subset))
    absent = {}
    for name, parts in members.items():
        if lost := [part for part in parts if str(MemberKey(stimulus_set, part)) in missing_of(features)]:
            absent[str(MemberKey(stimulus_set, name))] = (
                "its features are missing"
                if parts == [name]
                else f"the features of {', '.join(lost)} are missing"
            )
        elif subset in missing_of(stimulus_subsets):
            absent[str(MemberKey(stimulus_set, name))] = f"stimulus_subsets/{subset} is missing"
    return absent


def _require_name(kind: str, name: str, known: Any) -> str:
    require_known(kind, name, known)
    return name


def _has_classes(stimulus_set: str, subset: ArrowHandle, params: ProbingParams) -> bool:
    """Return whether the training split has enough classes, by the rule in the parameters."""
    label = choose_label(subset, params.labels)
    n_of_class = count_training(subset, label)
    n_classes = len(n_of_class)
    require_labels_for(params, subset, n_of_class, several=is_several(subset, label))
    if n_classes >= params.min_classes:
        _require_neighbours(params, subset, label, n_of_class)
        return True
    message = (
        f"{n_classes} classes with a label in the training split of {subset.key}, need {params.min_classes}"
    )
    if not isinstance(params.stimulus_sets, str):
        raise UserError(f"stimulus set {stimulus_set!r} cannot be probed: {message}")
    _log.warning("no probes on stimulus set %s: %s", stimulus_set, message)
    return False


def _require_neighbours(
    params: ProbingParams, subset: ArrowHandle, label: str, n_of_class: Mapping[int, int]
) -> None:
    """Refuse more neighbours than training stimuli are left while settings are chosen."""
    if not isinstance(params.fit, KnnParams):
        return
    sizes = [params.few_shot or n for n in n_of_class.values()]
    if is_several(subset, label):  # held out of all together, not of each class
        frame = label_frame(subset, label)
        sizes = [int((frame["label"].notna() & (frame["split"] == "train")).sum())]
    n_left = sum(n - min(round(params.held_out_fraction * n), n - 1) for n in sizes)
    if (most := max(params.fit.n_neighbours)) > n_left:
        raise UserError(
            f"probing.fit.n_neighbours: {most} must be at most {n_left}, the training stimuli of {subset.key}"
            " that are not held out"
        )


def require_labels_for(
    params: ProbingParams, subset: ArrowHandle, n_of_class: Mapping[int, int], *, several: bool
) -> None:
    """Refuse what the labels of a subset do not allow."""
    if several and params.class_weights != "none":
        raise UserError(f"probing.class_weights: stimuli of {subset.key} have several labels; use none")
    if params.few_shot is None:
        return
    if several:
        raise UserError(f"probing.few_shot: stimuli of {subset.key} have several labels; use null")
    if few := [label for label, n in n_of_class.items() if n < params.few_shot]:
        raise UserError(
            f"probing.few_shot is {params.few_shot}, but class {min(few)} of {subset.key} has"
            f" {n_of_class[min(few)]} training stimuli"
        )
