"""One network's probes on one stimulus set: choose settings on a held-out part, fit again, test."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.probing.labels import Features, Targets, choose_label, draw_few, read_labels
from rep_kedro.analyses.probing.params import ProbingParams
from rep_kedro.analyses.probing.solver_params import AttentiveParams, SolverParams
from rep_kedro.datasets import MemberKey, Tensors, rebuilt_by
from rep_kedro.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from rep_kedro.datasets import ArrowHandle
    from rep_kedro.kernels.probes.choice import FittedProbe
    from rep_kedro.kernels.probes.settings import Fit

TOP = 5
CONVERGENCE = {True: "converged", False: "stopped", None: "no optimum"}
PROBABILITIES = "probabilities"
LOGITS = "logits"
_log = logging.getLogger(__name__)


def make_probes(features: Features, subset: "ArrowHandle", params: ProbingParams) -> Tensors:
    """Fit and test the probes of one network on one stimulus set.

    Args:
        features: Features of the network, as they are seen.
        subset: The stimulus subset they are of.
        params: How to fit.

    Returns:
        By layer: what the read-out consists of, such as ``<layer>/weight`` and ``<layer>/bias`` (for features
        as they are seen, rounded to float32), and ``<layer>/predictions`` (class labels of the test stimuli,
        int32); of the final layer ``<layer>/probabilities``, float16, and ``<layer>/logits``, float32, both
        (n_test, n_classes), columns in the order of ``meta["classes"]``, if they are kept: all of the first
        seed. A row of results for each layer in ``meta["layers"]``, with those of each seed in ``by_seed`` if
        there are several.

    Raises:
        ValueError: If the subset does not belong to the features, there is nothing to test on, or a feature
            is NaN or infinite.
    """
    import numpy as np
    import torch

    label = choose_label(subset, params.labels)
    targets = read_labels(features, subset, label)
    names = [str(name) for name in features.meta["layers"]]
    layers = {name: torch.from_numpy(np.array(features.tensor(name))) for name in names}
    _require_finite(features.key, layers)
    first, *further = (_fit_seed(features.key, layers, targets, params, seed) for seed in params.all_seeds)
    tensors: dict[str, Any] = {}
    rows = []
    for depth, (name, tested) in enumerate(first.items()):
        is_final = name == features.meta["final_layer"]
        tensors |= {f"{name}/{part}": value.float() for part, value in tested.probe.readout.tensors.items()}
        predicted = tested.logits.argmax(dim=1)
        tensors[f"{name}/predictions"] = torch.tensor(targets.classes)[predicted].to(torch.int32)
        if params.keep_probabilities and is_final:
            tensors[f"{name}/{PROBABILITIES}"] = tested.probabilities.to(torch.float16)
        if params.keep_logits and is_final:
            tensors[f"{name}/{LOGITS}"] = tested.logits.float()
        by_seed = [tested.row, *(others[name].row for others in further)]
        rows.append({"layer": name, "depth": depth, "is_final": is_final, **tested.row})
        if further:
            rows[-1]["by_seed"] = by_seed
    meta = {"label": label, "classes": targets.classes, "layers": rows}
    return Tensors(tensors, meta | ({"several_labels": True} if targets.labels.ndim > 1 else {}))


@dataclass(frozen=True)
class _Tested:
    """A probe of one layer and seed, and what it gives for the test stimuli."""

    probe: "FittedProbe"
    logits: "Tensor"
    probabilities: "Tensor"
    row: dict[str, Any]


def _fit_seed(
    key: str, layers: "Mapping[str, Tensor]", targets: Targets, params: ProbingParams, seed: int
) -> dict[str, _Tested]:
    """Fit and test the probes of all layers with one seed."""
    is_train = draw_few(targets, params.few_shot, seed)
    train = targets.labels[is_train]
    fitted = fit_or_explain(
        {name: x[is_train] for name, x in layers.items()},
        train,
        n_classes=len(targets.classes),
        params=params,
        fit=("probing.fit", params.fit),
        stimulus_set=MemberKey.parse(key).stimulus_set,
        seed=seed,
    )
    about = {"seed": seed, "n_train": len(train), "n_test": int(targets.is_test.sum())}
    tested = {}
    for name, probe in fitted.items():
        if probe.converged is False:
            _log.warning("probe %s of %s stopped before its optimum; raise max_iterations", name, key)
        logits = probe.compute_logits(layers[name][targets.is_test])
        probabilities = logits.softmax(dim=1) if train.ndim == 1 else logits.sigmoid()
        row = {
            "train_accuracy": _hit_share(probe.compute_logits(layers[name][is_train]), train),
            "validation_accuracy": probe.validation_accuracy,
            **measure_results(logits, probabilities, targets.labels[targets.is_test]),
            **asdict(probe.setting),
            "convergence": CONVERGENCE[probe.converged],
            "solver": params.fit.solver,
            **about,
            "n_classes": len(targets.classes),
        }
        tested[name] = _Tested(probe, logits, probabilities, row)
    return tested


def measure_results(logits: "Tensor", probabilities: "Tensor", labels: "Tensor") -> dict[str, float | None]:
    """Return what a probe reaches on test stimuli; what is undefined for them is None.

    Args:
        logits: Shape (n_test, n_classes).
        probabilities: Of each class, (n_test, n_classes).
        labels: Class indices, (n_test,), or which classes each stimulus has, (n_test, n_classes), 0 or 1.
    """
    from rep_kedro.kernels.probes import quality
    from rep_kedro.kernels.probes.probe import measure_balanced_accuracy

    found: dict[str, float | None] = {
        "test_accuracy": _hit_share(logits, labels),
        "top5_accuracy": quality.measure_top_k(logits, labels, k=TOP) if logits.shape[1] > TOP else None,
    }
    if labels.ndim > 1:
        found["mean_average_precision"] = quality.measure_average_precision(logits, labels).mean
        return found
    return found | {
        "balanced_accuracy": measure_balanced_accuracy(logits.argmax(dim=1), labels).item(),
        "calibration_error": quality.measure_calibration_error(probabilities, labels),
    }


def _hit_share(logits: "Tensor", labels: "Tensor") -> float:
    """Return the share of stimuli that have the class with the largest logit."""
    from rep_kedro.kernels.probes.probe import measure_accuracy

    predicted = logits.argmax(dim=1)
    if labels.ndim == 1:
        return measure_accuracy(predicted, labels).item()
    return labels.gather(1, predicted[:, None]).double().mean().item()


def fit_or_explain(
    layers: "Mapping[str, Tensor]",
    labels: "Tensor",
    *,
    n_classes: int,
    params: ProbingParams,
    fit: "tuple[str, SolverParams | AttentiveParams]",
    stimulus_set: str,
    seed: int,
) -> "dict[str, FittedProbe]":
    """Fit the probes by a solver, given with the name of its parameters; errors name what to change."""
    from rep_kedro.kernels.probes.adamw import DivergedError
    from rep_kedro.kernels.probes.choice import fit_layers
    from rep_kedro.kernels.probes.knn import TooFewNeighboursError
    from rep_kedro.kernels.probes.probe import NothingToHoldOutError, balance_classes
    from rep_kedro.kernels.probes.settings import MemoryLimitError

    name, solver = fit
    try:
        fitted = fit_layers(
            layers,
            labels,
            n_classes=n_classes,
            fit=to_fit(solver),
            held_out_fraction=params.held_out_fraction,
            seed=seed,
            class_weights=balance_classes(labels, n_classes) if params.class_weights == "balanced" else None,
        )
    except DivergedError as problem:
        raise UserError(f"{problem} ({name}.learning_rates)") from problem
    except MemoryLimitError as problem:
        raise UserError(f"stimulus set {stimulus_set}: {problem} (of {name})") from problem
    except TooFewNeighboursError as problem:
        raise UserError(f"stimulus set {stimulus_set}: {problem} ({name}.n_neighbours)") from problem
    except NothingToHoldOutError as problem:
        raise UserError(
            f"stimulus set {stimulus_set} is too small to choose settings of probes: {problem}; leave it out "
            "of probing.stimulus_sets, raise probing.held_out_fraction if classes have at least two "
            f"samples, or give a single setting in {name}"
        ) from problem
    if any(probe.validation_accuracy is None for probe in fitted.values()):
        _log.warning(
            "no held-out accuracy of probes on %s: %g of each class rounds to no stimulus",
            stimulus_set,
            params.held_out_fraction,
        )
    return fitted


def require_room(
    fit: "tuple[str, SolverParams | AttentiveParams]",
    shapes: "Mapping[str, Sequence[int]]",
    n_of_class: "Mapping[int, int]",
    few_shot: int | None,
    subject: str,
) -> None:
    """Refuse, while planning, probes that do not fit into the memory that their solver may take.

    Args:
        fit: The solver, with the name of its parameters.
        shapes: Of one stimulus's features, by layer.
        n_of_class: Training stimuli of each class.
        few_shot: How many of each class are drawn; None for all.
        subject: What is probed, for the message.
    """
    from rep_kedro.kernels.probes.settings import MemoryLimitError, require_memory

    name, solver = fit
    n_train = sum(n_of_class.values()) if few_shot is None else few_shot * len(n_of_class)
    try:
        for layer, shape in shapes.items():
            require_memory(to_fit(solver), layer, shape, n_classes=len(n_of_class), n_samples=n_train)
    except MemoryLimitError as problem:
        raise UserError(f"{subject}: {problem} (of {name})") from problem


def to_fit(params: "SolverParams | AttentiveParams") -> "Fit":
    """Return what the kernels call the parameters of a solver."""
    from rep_kedro.kernels.probes.settings import FITS

    return FITS[params.solver](**params.model_dump(exclude={"solver", "preset"}))


def _require_finite(key: str, layers: "Mapping[str, Tensor]") -> None:
    for name, x in layers.items():
        n_bad = int((~x.isfinite()).sum())
        if n_bad:
            raise UserError(
                f"layer {name} of features {key} contains {n_bad} values that are NaN or infinite; "
                f"rebuild them with {rebuilt_by('features', key)}"
            )
