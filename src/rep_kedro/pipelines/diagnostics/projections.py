"""Nodes for projections: which network on which stimulus set, and the table of results."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.diagnostics.params import DiagnosticsParams
from rep_kedro.analyses.projections.params import ProjectionParams
from rep_kedro.datasets import MemberKey, Plan, Planned, code_revision, missing_of
from rep_kedro.errors import UserError, require_known
from rep_kedro.models.sources.chosen import ChosenNetwork, choose_network
from rep_kedro.models.study import FeaturesParams
from rep_kedro.schemas.diagnostics import PROJECTION_RESULTS
from rep_kedro.stimuli.label_columns import find_labels, has_several

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
    from rep_kedro.models.sources.loaded import LoadedModel
else:
    DataFrame = ArrowHandle = TensorsHandle = LoadedModel = Any  # Kedro reads the hints

_WORK = ("rep_kedro.analyses.projections.work", "rep_kedro.stimuli.decoding")


def plan_projections(
    stimulus_sets: Mapping[str, ArrowHandle],
    stimulus_subsets: Mapping[str, ArrowHandle],
    networks: Mapping[str, TensorsHandle],
    features: FeaturesParams,
    params: DiagnosticsParams,
) -> Plan:
    """Plan the projections of each chosen network on each of its stimulus sets.

    Args:
        stimulus_sets: Handles by name; no image is read while planning.
        stimulus_subsets: Handles by `<stimulus set>/<subset>`.
        networks: Handles of the networks trained here, by name.
        features: Names the networks from elsewhere.
        params: `projections` in it.

    Returns:
        Plan by `<stimulus set>/<model>`; empty where no network is chosen.

    Raises:
        UserError: If a network, stimulus set or subset is unknown, or a network has no head or training set.
    """
    plan, wanted = Plan(), params.projections
    entries = features.entries()
    for name in wanted.models:
        if name in missing_of(networks):
            plan.left_out[name] = f"networks/{name} is missing"
            continue
        chosen = choose_network(name, networks, entries, place="diagnostics.projections.models")
        own, labels = _trained_on(name, chosen)
        for stimulus_set in [own] if wanted.stimulus_sets == "own" else wanted.stimulus_sets:
            shown = _require_set(name, stimulus_set, stimulus_sets)
            key = str(MemberKey(shown, name))
            subset_key = wanted.subset and str(MemberKey(shown, wanted.subset))
            if why := _why_absent(shown, subset_key, stimulus_sets, stimulus_subsets):
                plan.left_out[key] = why
                continue
            images = stimulus_sets[shown]
            _require_one_label(name, labels, images)
            subset = stimulus_subsets[subset_key] if subset_key else None
            plan[key] = Planned(
                {
                    "network": chosen.recipe,
                    "stimulus_set": images.reference,
                    **({"stimulus_subset": subset.reference} if subset else {}),
                    "projections": wanted.recipe(),
                    "code": code_revision(*_WORK),
                },
                partial(_project, chosen.load, images, subset, wanted, labels),
            )
    return plan


def tabulate_projection_results(projections: Mapping[str, TensorsHandle]) -> DataFrame:
    """List accuracy and loss of each projected network.

    Args:
        projections: Handles by `<stimulus set>/<model>`.

    Returns:
        Columns as in docs/tables.md.
    """
    rows: list[dict[str, Any]] = []
    for key in sorted(projections):
        stimulus_set, model = MemberKey.parse(key)
        meta = projections[key].meta
        original = meta["original"]
        about = {
            "stimulus_set": stimulus_set,
            "model": model,
            "is_centred": meta["centred"],
            "n_fit": meta["n_fit"],
            "n_test": original["n_test"],
            "original_accuracy": original["accuracy"],
            "original_loss": original["loss"],
        }
        for row in meta["rows"]:
            reason = row["reason"] or ("" if original["accuracy"] else "the network gets no stimulus right")
            rows.append({**about, **row, **_relative(row, original), "reason": reason})
    return PROJECTION_RESULTS.frame(rows)


def _relative(row: Mapping[str, Any], original: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the accuracy relative to the network as it is, and its interval over test stimuli."""
    from rep_kedro.kernels.statistics.paired_shares import bound_ratio

    if row["accuracy"] is None or not original["accuracy"]:
        return dict.fromkeys(("relative_accuracy", "relative_low", "relative_high"))
    n_right, n_before = (round(each["accuracy"] * original["n_test"]) for each in (row, original))
    n_both = row["n_both_right"]
    low, high = bound_ratio(n_both, n_right - n_both, n_before - n_both)
    relative = row["accuracy"] / original["accuracy"]
    return {"relative_accuracy": relative, "relative_low": low, "relative_high": high}


def _trained_on(name: str, chosen: ChosenNetwork) -> tuple[str | None, str | None]:
    """Return the images and the label column that a network was trained on."""
    if chosen.handle is None:
        return (chosen.entry.trained_on if chosen.entry else None), None
    if chosen.handle.meta["n_classes"] is None:
        raise UserError(f"diagnostics.projections.models: network {name!r} has no head to read out")
    return chosen.handle.meta["stimulus_set"], chosen.handle.recipe.get("labels")


def _project(
    load: Callable[[], LoadedModel],
    stimulus_set: ArrowHandle,
    subset: ArrowHandle | None,
    params: ProjectionParams,
    labels: str | None,
) -> object:
    from rep_kedro.analyses.projections.work import project_network

    return project_network(load, stimulus_set, subset, params, labels)


def _require_one_label(model: str, labels: str | None, images: ArrowHandle) -> None:
    find_labels(images.meta, labels, f"stimulus set {images.key}")
    if labels is not None and has_several(images.meta, labels):
        raise UserError(
            f"diagnostics.projections.models: network {model!r} predicts several labels of an image"
            f" ({labels!r}); projections take networks that predict one"
        )


def _require_set(model: str, name: str | None, stimulus_sets: Mapping[str, object]) -> str:
    if name is None:
        raise UserError(
            f"diagnostics.projections: what network {model!r} was trained on is unknown; name stimulus_sets,"
            " or give it trained_on"
        )
    require_known("stimulus set", name, [*stimulus_sets, *missing_of(stimulus_sets)])
    return name


def _why_absent(
    stimulus_set: str,
    subset: str | None,
    stimulus_sets: Mapping[str, object],
    stimulus_subsets: Mapping[str, object],
) -> str:
    if stimulus_set in missing_of(stimulus_sets):
        return f"stimulus_sets/{stimulus_set} is missing"
    if subset and subset in missing_of(stimulus_subsets):
        return f"stimulus_subsets/{subset} is missing"
    if subset:
        require_known("stimulus subset", subset, stimulus_subsets)
    return ""
