"""One network's probes on one stimulus set: choose settings on a held-out part, fit again, test."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.probing.labels import Features, choose_label, read_labels
from rep_kedro.analyses.probing.params import AdamWParams, ProbingParams
from rep_kedro.datasets import MemberKey, Tensors, rebuilt_by
from rep_kedro.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from rep_kedro.datasets import ArrowHandle
    from rep_kedro.kernels.probes.choice import FittedProbe

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

    from rep_kedro.kernels.probes.probe import measure_accuracy, measure_balanced_accuracy

    label = choose_label(subset, params.labels)
    classes, labels, is_train, is_test = read_labels(features, subset, label)
    names = [str(name) for name in features.meta["layers"]]
    layers = {name: torch.from_numpy(np.array(features.tensor(name))) for name in names}
    _require_finite(features.key, layers)
    train, test = labels[is_train], labels[is_test]
    fitted = _fit(
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
        predictions = probe.predict(layers[name][is_test])
        tensors[f"{name}/weight"], tensors[f"{name}/bias"] = probe.weight.float(), probe.bias.float()
        tensors[f"{name}/predictions"] = torch.tensor(classes)[predictions].to(torch.int32)
        if params.keep_probabilities and name == features.meta["final_layer"]:
            probabilities = probe.predict_probabilities(layers[name][is_test])
            tensors[f"{name}/{PROBABILITIES}"] = probabilities.to(torch.float16)
        rows.append(
            {
                "layer": name,
                "depth": depth,
                "is_final": name == features.meta["final_layer"],
                "train_accuracy": measure_accuracy(probe.predict(layers[name][is_train]), train).item(),
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
    return Tensors(tensors, {"label": label, "classes": classes, "layers": rows})


def _fit(
    layers: "Mapping[str, Tensor]",
    labels: "Tensor",
    *,
    n_classes: int,
    params: ProbingParams,
    stimulus_set: str,
) -> "dict[str, FittedProbe]":
    """Fit the probes; errors name the stimulus set and the parameter to change."""
    from rep_kedro.kernels.probes.adamw import DivergedError
    from rep_kedro.kernels.probes.choice import AdamWFit, LbfgsFit, fit_layers
    from rep_kedro.kernels.probes.probe import NothingToHoldOutError

    kind = AdamWFit if isinstance(params.fit, AdamWParams) else LbfgsFit
    try:
        fitted = fit_layers(
            layers,
            labels,
            n_classes=n_classes,
            fit=kind(**params.fit.model_dump(exclude={"solver"})),
            held_out_fraction=params.held_out_fraction,
            seed=params.seed,
        )
    except DivergedError as problem:
        raise UserError(f"{problem} (probing.fit.learning_rates)") from problem
    except NothingToHoldOutError as problem:
        raise UserError(
            f"stimulus set {stimulus_set} is too small to choose settings of probes: {problem}; leave it out "
            "of probing.stimulus_sets, raise probing.held_out_fraction if classes have at least two "
            "samples, or give a single setting in probing.fit"
        ) from problem
    if any(probe.validation_accuracy is None for probe in fitted.values()):
        _log.warning(
            "no held-out accuracy of probes on %s: %g of each class rounds to no stimulus",
            stimulus_set,
            params.held_out_fraction,
        )
    return fitted


def _require_finite(key: str, layers: "Mapping[str, Tensor]") -> None:
    for name, x in layers.items():
        n_bad = int((~x.isfinite()).sum())
        if n_bad:
            raise UserError(
                f"layer {name} of features {key} contains {n_bad} values that are NaN or infinite; "
                f"rebuild them with {rebuilt_by('features', key)}"
            )
