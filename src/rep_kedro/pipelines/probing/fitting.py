"""One network's probes on one stimulus set: choose settings on a held-out part, fit again, test."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rep_kedro.datasets import MemberKey, Tensors
from rep_kedro.errors import UserError
from rep_kedro.pipelines.probing.labels import Features, read_labels
from rep_kedro.pipelines.probing.params import AdamWParams, LbfgsParams, ProbingParams
from rep_kedro.pipelines.probing.probe import FittedProbe, Setting, predict, predict_probabilities

if TYPE_CHECKING:
    from torch import Tensor

    from rep_kedro.datasets import ArrowHandle

PROBABILITIES = "probabilities"
_log = logging.getLogger(__name__)


def make_probes(features: Features, subset: "ArrowHandle", params: ProbingParams) -> Tensors:
    """Fit and test the probes of one network on one stimulus set.

    Args:
        features: Features of the network, as they are seen.
        subset: The stimulus subset they are of.
        params: How to fit.

    Returns:
        By layer: ``<layer>/weight`` and ``<layer>/bias`` (for features as they are seen, rounded to
        float32) and ``<layer>/predictions`` (class labels of the test stimuli, int32); of the final layer
        ``<layer>/probabilities`` (n_test, n_classes), float16, columns in the order of ``meta["classes"]``,
        if they are kept; a row of results for each layer in ``meta["layers"]``.

    Raises:
        ValueError: If the subset does not belong to the features, there is nothing to test on, or a feature
            is NaN or infinite.
    """
    import numpy as np
    import torch

    from rep_kedro.kernels.probes import measure_accuracy, measure_balanced_accuracy

    classes, labels, is_train, is_test = read_labels(features, subset)
    names = [str(name) for name in features.meta["layers"]]
    layers = {name: torch.from_numpy(np.array(features.tensor(name))) for name in names}
    _require_finite(features.key, layers)
    train, test = labels[is_train], labels[is_test]
    fitted = fit_layers(
        {name: x[is_train] for name, x in layers.items()},
        train,
        n_classes=len(classes),
        params=params,
        stimulus_set=MemberKey.parse(features.key).stimulus_set,
    )
    tensors: dict[str, Any] = {}
    rows = []
    for depth, (name, probe) in enumerate(fitted.items()):
        if probe.converged is False:
            _log.warning(
                "probe %s of %s stopped before its optimum; raise max_iterations", name, features.key
            )
        predictions = predict(probe, layers[name][is_test])
        tensors[f"{name}/weight"], tensors[f"{name}/bias"] = probe.weight.float(), probe.bias.float()
        tensors[f"{name}/predictions"] = torch.tensor(classes)[predictions].to(torch.int32)
        if params.keep_probabilities and name == features.meta["final_layer"]:
            probabilities = predict_probabilities(probe, layers[name][is_test])
            tensors[f"{name}/{PROBABILITIES}"] = probabilities.to(torch.float16)
        rows.append(
            {
                "layer": name,
                "depth": depth,
                "is_final": name == features.meta["final_layer"],
                "train_accuracy": measure_accuracy(predict(probe, layers[name][is_train]), train).item(),
                "validation_accuracy": probe.validation_accuracy,
                "test_accuracy": measure_accuracy(predictions, test).item(),
                "balanced_test_accuracy": measure_balanced_accuracy(predictions, test).item(),
                "weight_decay": probe.setting.weight_decay,
                "learning_rate": probe.setting.learning_rate,
                "converged": probe.converged,
                "seed": params.seed,
                "n_train": len(train),
                "n_test": len(test),
                "n_classes": len(classes),
            }
        )
    return Tensors(tensors, {"classes": classes, "layers": rows})


def fit_layers(
    layers: Mapping[str, "Tensor"],
    labels: "Tensor",
    *,
    n_classes: int,
    params: ProbingParams,
    stimulus_set: str,
) -> dict[str, FittedProbe]:
    """Fit one probe for each layer, each with the setting that reads the held-out part best.

    The accuracy on that part is kept: layers and networks are compared by it, and never chosen on test
    samples.

    Args:
        layers: Training features by layer, (n_train, n_features).
        labels: Class indices, (n_train,).
        n_classes: Number of classes.
        params: Settings to choose from, and how.
        stimulus_set: Its name, for messages.

    Returns:
        Probes by layer, fitted on all training samples.

    Raises:
        ValueError: If features or labels cannot be fitted, or are too few to hold some out.
    """
    settings = list_settings(params.fit)
    chosen: dict[str, tuple[Setting, float | None]] = dict.fromkeys(layers, (settings[0], None))
    held_out = _hold_out(labels, params, stimulus_set, is_needed=len(settings) > 1)
    if held_out is not None:
        chosen = _choose_settings(layers, labels, held_out, settings, n_classes=n_classes, params=params)
    fitted: dict[str, FittedProbe] = {}
    for setting in settings:
        names = [name for name in layers if chosen[name][0] == setting]
        if names:
            some = {name: layers[name] for name in names}
            fits = _fit_all(some, labels, [setting], n_classes=n_classes, params=params)
            fitted.update({n: replace(fits[n][0], validation_accuracy=chosen[n][1]) for n in names})
    return {name: fitted[name] for name in layers}


def list_settings(fit: LbfgsParams | AdamWParams) -> list[Setting]:
    """Return all combinations to choose from."""
    rates: Sequence[float | None] = fit.learning_rates if isinstance(fit, AdamWParams) else [None]
    return [Setting(decay, rate) for rate in rates for decay in fit.weight_decays]


def _hold_out(
    labels: "Tensor", params: ProbingParams, stimulus_set: str, *, is_needed: bool
) -> "Tensor | None":
    """Return True for training samples on which settings are chosen, (n_train,); None where there are none.

    Raises:
        ValueError: If none can be held out though they are needed.
    """
    import torch

    from rep_kedro.kernels.probes import NothingToHoldOutError, draw_held_out

    generator = torch.Generator().manual_seed(params.seed)
    try:
        return draw_held_out(labels, fraction=params.held_out_fraction, generator=generator)
    except NothingToHoldOutError as problem:
        if not is_needed:
            _log.warning("no held-out accuracy of probes on %s: %s", stimulus_set, problem)
            return None
        raise UserError(
            f"stimulus set {stimulus_set} is too small to choose settings of probes: {problem}; leave it out "
            "with probing.stimulus_sets, or raise probing.held_out_fraction where classes have two samples "
            "or more, or name a single setting in probing.fit"
        ) from problem


def _choose_settings(
    layers: Mapping[str, "Tensor"],
    labels: "Tensor",
    held_out: "Tensor",
    settings: list[Setting],
    *,
    n_classes: int,
    params: ProbingParams,
) -> dict[str, tuple[Setting, float | None]]:
    """Return the setting with the best held-out accuracy for each layer, and that; ties: the larger decay."""
    import torch

    from rep_kedro.kernels.probes import measure_accuracy, select_weight_decay

    fits = _fit_all(
        {name: x[~held_out] for name, x in layers.items()},
        labels[~held_out],
        settings,
        n_classes=n_classes,
        params=params,
    )
    chosen: dict[str, tuple[Setting, float | None]] = {}
    for name, x in layers.items():
        predictions = torch.stack([predict(probe, x[held_out]) for probe in fits[name]])
        accuracies = measure_accuracy(predictions, labels[held_out]).tolist()
        best = select_weight_decay(accuracies, [s.weight_decay for s in settings])
        chosen[name] = (settings[best], accuracies[best])
    return chosen


def _fit_all(
    layers: Mapping[str, "Tensor"],
    labels: "Tensor",
    settings: list[Setting],
    *,
    n_classes: int,
    params: ProbingParams,
) -> dict[str, list[FittedProbe]]:
    """Fit every layer with every setting on standardised features."""
    from rep_kedro.kernels.probes import fit_standardisation

    standards = {name: fit_standardisation(x) for name, x in layers.items()}
    ready = {name: standards[name].apply(x) for name, x in layers.items()}
    fit = params.fit
    if isinstance(fit, AdamWParams):
        weights = _fit_adamw(ready, labels, settings, n_classes=n_classes, fit=fit, seed=params.seed)
        converged: dict[str, list[bool | None]] = {name: [None] * len(settings) for name in layers}
    else:
        weights, converged = _fit_lbfgs(ready, labels, settings, n_classes=n_classes, fit=fit)
    probes: dict[str, list[FittedProbe]] = {}
    for name, by_setting in weights.items():
        mean, scale = standards[name]
        inverse = (1.0 / scale).masked_fill(scale == 0.0, 0.0)
        probes[name] = []
        for weight, setting, reached in zip(by_setting, settings, converged[name], strict=True):
            for_stored = weight[:-1] * inverse[:, None]
            probes[name].append(FittedProbe(for_stored, weight[-1] - mean @ for_stored, setting, reached))
    return probes


def _fit_lbfgs(
    layers: Mapping[str, "Tensor"],
    labels: "Tensor",
    settings: list[Setting],
    *,
    n_classes: int,
    fit: LbfgsParams,
) -> tuple[dict[str, "Tensor"], dict[str, list[bool | None]]]:
    from rep_kedro.kernels.probe_lbfgs import fit_probes_lbfgs

    fitted = fit_probes_lbfgs(
        list(layers.values()),
        labels,
        n_classes=n_classes,
        weight_decays=[setting.weight_decay for setting in settings],
        tolerance=fit.tolerance,
        max_iterations=fit.max_iterations,
    )
    weights = dict(zip(layers, fitted.weights, strict=True))
    return weights, dict(zip(layers, fitted.converged.tolist(), strict=True))


def _fit_adamw(
    layers: Mapping[str, "Tensor"],
    labels: "Tensor",
    settings: list[Setting],
    *,
    n_classes: int,
    fit: AdamWParams,
    seed: int,
) -> dict[str, "Tensor"]:
    """Train layers of equal width together."""
    import torch

    from rep_kedro.kernels.probe_adamw import AdamWSettings, DivergedError, fit_probes_adamw

    grid = AdamWSettings(
        learning_rates=tuple(setting.learning_rate or 0.0 for setting in settings),
        weight_decays=tuple(setting.weight_decay for setting in settings),
        seeds=(seed,),
        n_epochs=fit.n_epochs,
        batch_size=fit.batch_size,
    )
    by_width: dict[int, list[str]] = {}
    for name, x in layers.items():
        by_width.setdefault(x.shape[1], []).append(name)
    weights = {}
    for names in by_width.values():
        stacked = torch.stack([layers[name].float() for name in names])
        try:
            trained = fit_probes_adamw(stacked, labels, n_classes=n_classes, settings=grid)
        except DivergedError as problem:
            raise UserError(f"{problem} (probing.fit.learning_rates)") from problem
        weights.update({name: trained[i, 0].double() for i, name in enumerate(names)})
    return weights


def _require_finite(key: str, layers: "Mapping[str, Tensor]") -> None:
    for name, x in layers.items():
        n_bad = int((~x.isfinite()).sum())
        if n_bad:
            raise UserError(
                f"layer {name} of features {key} holds {n_bad} values that are NaN or infinite; "
                f"rebuild them with --params recompute=features/{key}"
            )
