"""What can be read out of a representation? A linear probe and its accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from rep_kedro.api.arrays import Array, to_matrix, to_numpy, to_strided
from rep_kedro.errors import UserError, require_known
from rep_kedro.kernels.probes.choice import FittedProbe, fit_layers
from rep_kedro.kernels.probes.knn import TooFewNeighboursError
from rep_kedro.kernels.probes.probe import (
    NothingToHoldOutError,
    bound_share,
    measure_accuracy,
    measure_balanced_accuracy,
)
from rep_kedro.kernels.probes.settings import FITS, Fit, LbfgsFit, MemoryLimitError, RidgeFit
from rep_kedro.parameter_rules import MAX_SEED, require_whole


@dataclass(frozen=True)
class ProbeResult:
    """How well a linear probe reads the classes.

    Attributes:
        accuracy: Share of test samples whose class is hit.
        low: Lower end of Wilson's interval of the accuracy over test samples, 95 %.
        high: Upper end.
        balanced_accuracy: Mean over the classes of the test samples.
        train_accuracy: On the training samples.
        validation_accuracy: On held-out training samples, of a probe that was fitted on the others; None
            where none could be held out.
        weight_decay: The chosen one; None for solvers without it.
        converged: Whether the fit reached its optimum; None for solvers without one.
        n_train: Training samples.
        n_test: Test samples.
        n_classes: Classes of training and test samples.
        predictions: Label that the probe gives each test sample.
    """

    accuracy: float
    low: float
    high: float
    balanced_accuracy: float
    train_accuracy: float
    validation_accuracy: float | None
    weight_decay: float | None
    converged: bool | None
    n_train: int
    n_test: int
    n_classes: int
    predictions: np.ndarray = field(repr=False, compare=False)


def probe(
    train_x: Array,
    train_y: Array,
    test_x: Array,
    test_y: Array,
    *,
    solver: str = "lbfgs",
    weight_decays: Sequence[float] | None = None,
    held_out_fraction: float = 0.2,
    seed: int = 0,
) -> ProbeResult:
    """Fit a probe, by default linear (multinomial logistic regression on standardised features), and test it.

    Its settings are chosen on held-out training samples; then the probe is fitted again on all of them.
    Features are standardised in float64, whatever their scale and offset; one whose spread is rounding (1e-7
    of its mean in float32, 1e-14 in float64) is left out.

    Args:
        train_x: Features, (n_train, n_features), of numpy or torch; for ``attentive`` tokens or positions,
            (n_train, n_tokens, n_features).
        train_y: Labels, (n_train,): integers, booleans or strings, also as a column of pandas.
        test_x: Features, (n_test, n_features); they are seen only for the accuracy.
        test_y: Labels, (n_test,).
        solver: ``lbfgs``, ``adamw``, ``ridge``, ``knn``, ``prototype``, ``mlp`` or ``attentive``, with their
            usual settings.
        weight_decays: Of ``lbfgs`` and ``ridge``, to choose from; None for their usual ones. For ``lbfgs``
            the loss is mean cross-entropy + w / 2 times the sum of squared weights.
        held_out_fraction: Share of each class on which the weight decay is chosen.
        seed: Of the held-out part, from 0 to 2^32 - 1.

    Raises:
        UserError: If shapes or labels do not fit together, features are not finite, there are fewer than two
            classes to train on, or too few samples to hold some out.

    Example:
        >>> labels = np.arange(60) % 3
        >>> x = np.eye(3)[labels] + np.random.default_rng(0).normal(scale=0.5, size=(60, 3))
        >>> found = probe(x[:40], labels[:40], x[40:], labels[40:])
        >>> found.accuracy, round(found.low, 3), round(found.high, 3), found.weight_decay
        (0.95, 0.764, 0.991, 0.1)
    """
    of_tokens = solver == "attentive"
    train = to_matrix(train_x, "train_x", fewest=2, of_tokens=of_tokens)
    test = to_matrix(test_x, "test_x", fewest=1, of_tokens=of_tokens)
    if train.shape[-1] != test.shape[-1]:
        raise UserError(
            f"train_x has {train.shape[-1]} features, test_x {test.shape[-1]}; give the same features of both"
        )
    classes, own, theirs = _index_classes(
        _to_labels(train_y, "train_y", len(train)), _to_labels(test_y, "test_y", len(test))
    )
    fit = _choose_fit(solver, weight_decays)
    if not 0 < held_out_fraction < 1:
        raise UserError(f"held_out_fraction must be between 0 and 1, got {held_out_fraction}")
    seed = require_whole(seed, "seed", least=0, most=MAX_SEED)
    fitted = _fit(train.cpu(), own, len(classes), fit, held_out_fraction, seed)
    predictions = fitted.predict(test.cpu())
    accuracy = measure_accuracy(predictions, theirs).item()
    low, high = bound_share(accuracy, len(test))
    return ProbeResult(
        accuracy=accuracy,
        low=low,
        high=high,
        balanced_accuracy=measure_balanced_accuracy(predictions, theirs).item(),
        train_accuracy=measure_accuracy(fitted.predict(train.cpu()), own).item(),
        validation_accuracy=fitted.validation_accuracy,
        weight_decay=fitted.setting.weight_decay,
        converged=fitted.converged,
        n_train=len(train),
        n_test=len(test),
        n_classes=len(classes),
        predictions=classes[predictions.numpy()],
    )


def _choose_fit(solver: str, weight_decays: Sequence[float] | None) -> Fit:
    require_known("solver", solver, FITS)
    if weight_decays is None:
        return FITS[solver]()
    decays = tuple(weight_decays)
    convex: dict[str, type[LbfgsFit | RidgeFit]] = {"lbfgs": LbfgsFit, "ridge": RidgeFit}
    if solver not in convex:
        raise UserError(f"weight_decays are of {' and '.join(convex)}, got {solver}")
    if not decays or not all(0 < decay < math.inf for decay in decays):
        raise UserError(f"weight_decays must be finite and above 0, at least one, got {list(decays)}")
    return convex[solver](weight_decays=decays)


def _fit(
    x: Tensor,
    labels: Tensor,
    n_classes: int,
    fit: Fit,
    held_out_fraction: float,
    seed: int,
) -> FittedProbe:
    try:
        return fit_layers(
            {"x": x},
            labels,
            n_classes=n_classes,
            fit=fit,
            held_out_fraction=held_out_fraction,
            seed=seed,
        )["x"]
    except (MemoryLimitError, TooFewNeighboursError) as problem:
        raise UserError(str(problem)) from problem
    except NothingToHoldOutError as problem:
        raise UserError(
            f"{problem}; give more training samples of each class, a larger held_out_fraction,"
            " or one weight decay"
        ) from problem


def _to_labels(labels: Array, what: str, n_samples: int) -> np.ndarray:
    kinds = "give integers, booleans or strings"
    if isinstance(labels, Tensor):
        if labels.dtype == torch.bfloat16:  # numpy has no such type
            raise UserError(f"{what} has type {labels.dtype}; {kinds}")
        labels = to_strided(labels, what).cpu().numpy()
    found = to_numpy(labels, what)
    if found.shape != (n_samples,):
        raise UserError(f"{what} has shape {found.shape}; give one label for each of {n_samples} samples")
    if found.dtype == object and all(isinstance(label, str) for label in found):  # columns of pandas
        found = found.astype(str)
    if found.dtype.kind not in "biuUT":
        raise UserError(f"{what} has type {found.dtype}; {kinds}")
    return found


def _index_classes(train_y: np.ndarray, test_y: np.ndarray) -> tuple[np.ndarray, Tensor, Tensor]:
    """Return the classes, ascending, and the index of each sample's class, of training and test samples."""
    if (train_y.dtype.kind in "UT") != (test_y.dtype.kind in "UT"):
        raise UserError(
            f"train_y has type {train_y.dtype}, test_y {test_y.dtype}; give both as numbers or as strings"
        )
    if {train_y.dtype.kind, test_y.dtype.kind} == {"i", "u"} and np.uint64 in (train_y.dtype, test_y.dtype):
        raise UserError(  # numpy joins them as floats, which are not exact
            f"train_y has type {train_y.dtype}, test_y {test_y.dtype}; give both signed or both unsigned"
        )
    if len(np.unique(train_y)) < 2:
        raise UserError("train_y holds one class; a probe needs at least two")
    classes, indices = np.unique(np.concatenate([train_y, test_y]), return_inverse=True)
    codes = torch.from_numpy(indices.astype(np.int64))
    return classes, codes[: len(train_y)], codes[len(train_y) :]
