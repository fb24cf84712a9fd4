"""Nodes of the diagnostics pipeline: the layers to analyse, and the results from their spectra."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.diagnostics.label_free import measure_label_free
from rep_kedro.analyses.diagnostics.params import DiagnosticsParams
from rep_kedro.datasets import Batch, MemberKey, Plan, Planned, code_revision, missing_of
from rep_kedro.errors import require_known
from rep_kedro.pipelines.diagnostics.projections import tabulate_projection_results
from rep_kedro.pipelines.diagnostics.saturation import tabulate_saturation_history
from rep_kedro.schemas.diagnostics import LAYER_DIAGNOSTICS

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
else:
    DataFrame = ArrowHandle = TensorsHandle = Any  # Kedro reads the hints

_SPECTRA = "rep_kedro.analyses.diagnostics.spectra"
_log = logging.getLogger(__name__)


def plan_spectra(
    stimulus_sets: Mapping[str, ArrowHandle],
    stimulus_subsets: Mapping[str, ArrowHandle],
    features: Mapping[str, TensorsHandle],
    networks: Mapping[str, TensorsHandle],
    params: DiagnosticsParams,
) -> Plan:
    """Plan the spectra of each stimulus set and network, for all layers with features.

    Networks trained here are run again, so that every position of a map is a sample; the sets of one network
    share a batch. For other networks, stimuli are the samples of their stored features.

    Args:
        stimulus_sets: Handles by name; no image is read while planning.
        stimulus_subsets: Handles by ``<stimulus set>/<subset>``.
        features: Handles by ``<stimulus set>/<model>``.
        networks: Handles of the networks trained here, by name.
        params: What to look at.

    Returns:
        Plan by ``<stimulus set>/<model>``; those whose features, network or images are missing are left out.

    Raises:
        UserError: If a chosen stimulus set, network or subset is not there.
    """
    planned: dict[str, Planned] = {}
    left_out: dict[str, str] = {}
    by_model: dict[str, list[str]] = {}
    for key in _choose_keys({**features, **missing_of(features)}, params):
        name, model = MemberKey.parse(key)
        inputs = {
            "its features are missing": (key, features),
            f"networks/{model} is missing": (model, networks),
            f"the images of {name} are missing": (str(MemberKey(name, params.subset)), stimulus_subsets),
        }
        if why := [why for why, (part, handles) in inputs.items() if part in missing_of(handles)]:
            left_out[key] = why[0]
            continue
        by_model.setdefault(model, []).append(key)
    label_free = params.label_free.model_dump(mode="json")
    for model, keys in by_model.items():
        if model not in networks:
            for key in keys:
                planned[key] = Planned(
                    {
                        "features": features[key].reference,
                        "label_free": label_free,
                        "code": code_revision(_SPECTRA),
                    },
                    partial(_make_from_features, features[key], params),
                )
            continue
        shown = {key: _shown(key, stimulus_sets, stimulus_subsets, features, params) for key in keys}
        batch = Batch(partial(_make_from_network, networks[model], shown, params))
        for key in keys:
            recipe: dict[str, Any] = {
                "network": networks[model].reference,
                "stimuli": [handle.reference for handle in shown[key]],
                "label_free": label_free,
                "code": code_revision(_SPECTRA, "rep_kedro.models.trained", "rep_kedro.stimuli.decoding"),
            }
            planned[key] = Planned(recipe, batch)
    plan = Plan({key: planned[key] for key in sorted(planned)})
    plan.left_out = left_out
    return plan


def tabulate_spectra(
    spectra: Mapping[str, TensorsHandle], stimulus_cards: DataFrame, params: DiagnosticsParams
) -> tuple[DataFrame, DataFrame]:
    """Return tables `layer_diagnostics` and `label_free_measures`, from the same spectra."""
    n_classes = dict(zip(stimulus_cards["stimulus_set"], stimulus_cards["n_classes"], strict=True))
    return compute_layer_diagnostics(spectra, params), measure_label_free(spectra, n_classes, params)


def compute_layer_diagnostics(spectra: Mapping[str, TensorsHandle], params: DiagnosticsParams) -> DataFrame:
    """Compute measures of each layer's dimension from its spectrum.

    Intrinsic dimension, saturation, effective rank and participation ratio are those of the covariance of the
    channels (centred, lambda); RankMe is that of the stored features (uncentred, sigma), one row for each
    stimulus, as in its paper; TwoNN and the maximum-likelihood dimension are of the same rows. A
    layer that does not vary has no dimension: its values are missing and the log says why.

    Args:
        spectra: Handles by ``<stimulus set>/<model>``.
        params: Shares of variance, rule and epsilon.

    Returns:
        Columns as in docs/tables.md; one row for each layer and delta.
    """
    rows: list[dict[str, Any]] = []
    for key in sorted(spectra):
        stimulus_set, model = MemberKey.parse(key)
        for about in spectra[key].meta["layers"]:
            measured = _measure_layer(spectra[key], about, params)
            for delta in params.deltas:
                key_values = {"stimulus_set": stimulus_set, "model": model, "delta": delta}
                rows.append(LAYER_DIAGNOSTICS.pick({**key_values, **about, **measured[delta]}))
    _log.info("RankMe with epsilon %g, intrinsic dimension by rule %r", params.rankme_epsilon, params.rule)
    return LAYER_DIAGNOSTICS.frame(rows)


def tabulate_watched_and_projected(
    training_spectra: Mapping[str, TensorsHandle],
    projections: Mapping[str, TensorsHandle],
    params: DiagnosticsParams,
) -> tuple[DataFrame, DataFrame]:
    """Return the tables of watched trainings and of projected networks, by one node for a smaller graph.

    Args:
        training_spectra: Handles by network.
        projections: Handles by `<stimulus set>/<model>`.
        params: Shares of variance of the first table.
    """
    history = tabulate_saturation_history(training_spectra, params)
    return history, tabulate_projection_results(projections)


def _measure_layer(
    handle: TensorsHandle, about: Mapping[str, Any], params: DiagnosticsParams
) -> dict[float, dict[str, Any]]:
    """Return the values of one layer for each delta; missing where they are undefined."""
    import torch

    from rep_kedro.kernels.layers.dimensions import measure_dimensions

    layer = about["layer"]
    sigma = torch.from_numpy(handle.tensor(f"{layer}/feature_sigma").copy())
    if not sigma.max() > 0.0:
        _log.warning("no RankMe of layer %s of %s: all its features are zero", layer, handle.key)
    eigenvalues = None
    if about["neighbours_reason"]:
        _log.info(
            "no dimension from neighbours, layer %s of %s: %s", layer, handle.key, about["neighbours_reason"]
        )
    if about["reason"]:
        _log.warning("no dimension of layer %s of %s: %s", layer, handle.key, about["reason"])
    else:
        eigenvalues = torch.from_numpy(handle.tensor(f"{layer}/eigenvalues").copy())
    return {
        delta: asdict(
            measure_dimensions(
                eigenvalues, sigma, delta=delta, rule=params.rule, epsilon=params.rankme_epsilon
            )
        )
        for delta in params.deltas
    }


def _choose_keys(features: Mapping[str, object], params: DiagnosticsParams) -> list[str]:
    """Return the keys of the chosen stimulus sets and networks, sorted."""
    sets = sorted({MemberKey.parse(key).stimulus_set for key in features})
    models = sorted({MemberKey.parse(key).name for key in features})
    wanted_sets = _choose("stimulus set with features", params.stimulus_sets, sets)
    wanted_models = _choose("network with features", params.models, models)
    keys = [str(MemberKey(name, model)) for name in wanted_sets for model in wanted_models]
    return [key for key in keys if key in features]


def _choose(kind: str, wanted: str | list[str], known: list[str]) -> list[str]:
    if isinstance(wanted, str):
        return known
    return [_require_name(kind, name, known) for name in wanted]


def _require_name(kind: str, name: str, known: Any) -> str:
    require_known(kind, name, known)
    return name


def _shown(
    key: str,
    stimulus_sets: Mapping[str, ArrowHandle],
    stimulus_subsets: Mapping[str, ArrowHandle],
    features: Mapping[str, TensorsHandle],
    params: DiagnosticsParams,
) -> tuple[ArrowHandle, ArrowHandle, TensorsHandle]:
    """Return the stimulus set, subset and features behind a key."""
    name = _require_name("stimulus set", MemberKey.parse(key).stimulus_set, stimulus_sets)
    subset = _require_name("stimulus subset", str(MemberKey(name, params.subset)), stimulus_subsets)
    return stimulus_sets[name], stimulus_subsets[subset], features[key]


def _make_from_features(features: TensorsHandle, params: DiagnosticsParams) -> object:
    from rep_kedro.analyses.diagnostics.spectra import spectra_of_features

    return spectra_of_features(features, params.label_free)


def _make_from_network(
    network: TensorsHandle,
    shown: Mapping[str, tuple[ArrowHandle, ArrowHandle, TensorsHandle]],
    params: DiagnosticsParams,
    keys: Sequence[str],
) -> Iterator[tuple[str, object]]:
    from rep_kedro.analyses.diagnostics.spectra import stream_spectra

    yield from stream_spectra(
        network, shown, keys, params.label_free, batch_size=params.batch_size, device=params.device
    )
