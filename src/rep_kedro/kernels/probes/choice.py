"""Probes with the best settings on held-out samples: choose, refit on all samples, predict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rep_kedro.kernels.probes.adamw import AdamWSettings, fit_probes_adamw
from rep_kedro.kernels.probes.lbfgs import fit_probes_lbfgs
from rep_kedro.kernels.probes.probe import (
    NothingToHoldOutError,
    draw_held_out,
    fit_standardisation,
    measure_accuracy,
    select_weight_decay,
)


@dataclass(frozen=True)
class LbfgsFit:
    """Convex probes at their optimum.

    Attributes:
        weight_decays: Penalties w in mean cross-entropy + w / 2 * |W|^2, to choose from.
        tolerance: Norm of the gradient at which a probe counts as converged.
        max_iterations: Steps after which it is taken as it is.
    """

    weight_decays: tuple[float, ...] = (1e-3, 1e-2, 1e-1)
    tolerance: float = 1e-4
    max_iterations: int = 1000


@dataclass(frozen=True)
class AdamWFit:
    """Stochastic probes; every learning rate is tried with every weight decay.

    Attributes:
        learning_rates: To choose from; each falls to 0 along half a cosine.
        weight_decays: Decoupled decays, to choose from.
        n_epochs: Passes over the training samples.
        batch_size: Samples of a step.
    """

    learning_rates: tuple[float, ...]
    weight_decays: tuple[float, ...]
    n_epochs: int
    batch_size: int


@dataclass(frozen=True)
class Setting:
    """One way to fit a probe; the convex probe has no learning rate."""

    weight_decay: float
    learning_rate: float | None


@dataclass(frozen=True)
class FittedProbe:
    """A probe for features as they are, not standardised.

    Attributes:
        weight: Shape (n_features, n_classes), float64.
        bias: Shape (n_classes,), float64.
        setting: The chosen one.
        converged: Whether the fit reached its optimum; None for stochastic probes.
        validation_accuracy: On held-out training samples, of a probe with the same setting that was fitted on
            the others; None where none could be held out.
    """

    weight: Tensor
    bias: Tensor
    setting: Setting
    converged: bool | None
    validation_accuracy: float | None = None

    def predict(self, x: Tensor) -> Tensor:
        """Return the class that the probe gives each sample, (n_samples,)."""
        return self._compute_logits(x).argmax(dim=1)

    def predict_probabilities(self, x: Tensor) -> Tensor:
        """Return the probability of each class, (n_samples, n_classes); rows sum to 1."""
        return self._compute_logits(x).softmax(dim=1)

    def _compute_logits(self, x: Tensor) -> Tensor:
        return x.to(self.weight.dtype) @ self.weight + self.bias


def fit_layers(
    layers: Mapping[str, Tensor],
    labels: Tensor,
    *,
    n_classes: int,
    fit: LbfgsFit | AdamWFit,
    held_out_fraction: float,
    seed: int,
) -> dict[str, FittedProbe]:
    """Fit one probe for each layer, each with the setting that reads the held-out part best.

    The accuracy on that part is kept: layers and networks are compared by it, and never chosen on test
    samples.

    Args:
        layers: Training features by layer, (n_train, n_features).
        labels: Class indices, (n_train,).
        n_classes: Number of classes.
        fit: Settings to choose from, and the solver.
        held_out_fraction: Share of each class on which settings are chosen.
        seed: Of the held-out part and, for stochastic probes, of first weights and batches.

    Returns:
        Probes by layer, fitted on all training samples.

    Raises:
        NothingToHoldOutError: If there are several settings and the samples are too few to hold some out.
        ValueError: If features or labels cannot be fitted.
    """
    settings = list_settings(fit)
    chosen: dict[str, tuple[Setting, float | None]] = dict.fromkeys(layers, (settings[0], None))
    try:
        generator = torch.Generator().manual_seed(seed)
        held_out = draw_held_out(labels, fraction=held_out_fraction, generator=generator)
    except NothingToHoldOutError:
        if len(settings) > 1:
            raise
    else:
        chosen = _choose_settings(layers, labels, held_out, settings, n_classes=n_classes, fit=fit, seed=seed)
    fitted: dict[str, FittedProbe] = {}
    for setting in settings:
        names = [name for name in layers if chosen[name][0] == setting]
        if names:
            some = {name: layers[name] for name in names}
            fits = _fit_all(some, labels, [setting], n_classes=n_classes, fit=fit, seed=seed)
            fitted.update({n: replace(fits[n][0], validation_accuracy=chosen[n][1]) for n in names})
    return {name: fitted[name] for name in layers}


def list_settings(fit: LbfgsFit | AdamWFit) -> list[Setting]:
    """Return all combinations to choose from."""
    rates: Sequence[float | None] = fit.learning_rates if isinstance(fit, AdamWFit) else [None]
    return [Setting(decay, rate) for rate in rates for decay in fit.weight_decays]


def _choose_settings(
    layers: Mapping[str, Tensor],
    labels: Tensor,
    held_out: Tensor,
    settings: list[Setting],
    *,
    n_classes: int,
    fit: LbfgsFit | AdamWFit,
    seed: int,
) -> dict[str, tuple[Setting, float | None]]:
    """Return the setting with the best held-out accuracy for each layer, and that; ties: the larger decay."""
    training = {name: x[~held_out] for name, x in layers.items()}
    fits = _fit_all(training, labels[~held_out], settings, n_classes=n_classes, fit=fit, seed=seed)
    chosen: dict[str, tuple[Setting, float | None]] = {}
    for name, x in layers.items():
        predictions = torch.stack([probe.predict(x[held_out]) for probe in fits[name]])
        accuracies = measure_accuracy(predictions, labels[held_out]).tolist()
        best = select_weight_decay(accuracies, [s.weight_decay for s in settings])
        chosen[name] = (settings[best], accuracies[best])
    return chosen


def _fit_all(
    layers: Mapping[str, Tensor],
    labels: Tensor,
    settings: list[Setting],
    *,
    n_classes: int,
    fit: LbfgsFit | AdamWFit,
    seed: int,
) -> dict[str, list[FittedProbe]]:
    """Fit every layer with every setting on standardised features."""
    standards = {name: fit_standardisation(x) for name, x in layers.items()}
    ready = {name: standards[name].apply(x) for name, x in layers.items()}
    if isinstance(fit, AdamWFit):
        weights = _fit_adamw(ready, labels, settings, n_classes=n_classes, fit=fit, seed=seed)
        converged: dict[str, list[bool | None]] = {name: [None] * len(settings) for name in layers}
    else:
        weights, converged = _fit_lbfgs(ready, labels, settings, n_classes=n_classes, fit=fit)
    probes: dict[str, list[FittedProbe]] = {}
    for name, by_setting in weights.items():
        mean, scale = standards[name]
        inverse = (1.0 / scale).masked_fill(scale == 0.0, 0.0)
        probes[name] = []
        for weight, setting, reached in zip(by_setting, settings, converged[name], strict=True):
            for_features = weight[:-1] * inverse[:, None]
            probes[name].append(FittedProbe(for_features, weight[-1] - mean @ for_features, setting, reached))
    return probes


def _fit_lbfgs(
    layers: Mapping[str, Tensor],
    labels: Tensor,
    settings: list[Setting],
    *,
    n_classes: int,
    fit: LbfgsFit,
) -> tuple[dict[str, Tensor], dict[str, list[bool | None]]]:
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
    layers: Mapping[str, Tensor],
    labels: Tensor,
    settings: list[Setting],
    *,
    n_classes: int,
    fit: AdamWFit,
    seed: int,
) -> dict[str, Tensor]:
    """Train layers of equal width together."""
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
        trained = fit_probes_adamw(stacked, labels, n_classes=n_classes, settings=grid)
        weights.update({name: trained[i, 0].double() for i, name in enumerate(names)})
    return weights
