"""Probes with the best settings on held-out samples: choose, refit on all samples, predict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rep_kedro.kernels.probes.probe import NothingToHoldOutError, draw_held_out, measure_accuracy
from rep_kedro.kernels.probes.quality import measure_average_precision
from rep_kedro.kernels.probes.readouts import Readout
from rep_kedro.kernels.probes.search import Accuracies, search_coarse_to_fine, select_setting
from rep_kedro.kernels.probes.settings import AdamWFit, Fit, Setting, require_memory
from rep_kedro.kernels.probes.solvers import Problem, solve


@dataclass(frozen=True)
class FittedProbe:
    """A probe for features as they are, not standardised.

    Attributes:
        readout: From features to logits.
        setting: The chosen one.
        converged: Whether the fit reached its optimum; None for solvers without one.
        validation_accuracy: On held-out training samples, of a probe with the same setting that was fitted on
            the others (mean average precision where samples have several classes); None where none could
            be held out.
    """

    readout: Readout
    setting: Setting
    converged: bool | None
    validation_accuracy: float | None = None

    def compute_logits(self, x: Tensor) -> Tensor:
        """Return a number for each sample and class, (n_samples, n_classes), float64."""
        return self.readout.compute_logits(x)

    def predict(self, x: Tensor) -> Tensor:
        """Return the class that the probe gives each sample, (n_samples,)."""
        return self.compute_logits(x).argmax(dim=1)


def fit_layers(
    layers: Mapping[str, Tensor],
    labels: Tensor,
    *,
    n_classes: int,
    fit: Fit,
    held_out_fraction: float,
    seed: int,
    class_weights: Tensor | None = None,
) -> dict[str, FittedProbe]:
    """Fit one probe for each layer, each with the setting that reads the held-out part best.

    The accuracy on that part is kept: layers and networks are compared by it, and never chosen on test
    samples.

    Args:
        layers: Training features by layer, (n_train, n_features); for attentive probes (n_train, n_tokens,
            n_features).
        labels: Class indices, (n_train,); or which classes each sample has, (n_train, n_classes), 0 or 1.
        n_classes: Number of classes.
        fit: Settings to choose from, and the solver.
        held_out_fraction: Share of each class on which settings are chosen.
        seed: Of the held-out part and, for stochastic probes, of first weights and batches.
        class_weights: Weight of the samples of each class, (n_classes,); of class indices alone.

    Returns:
        Probes by layer, fitted on all training samples.

    Raises:
        MemoryLimitError: If a single setting does not fit into the memory.
        NothingToHoldOutError: If there are several settings and the samples are too few to hold some out.
        ValueError: If features or labels cannot be fitted.
    """
    for name, x in layers.items():
        require_memory(fit, name, x.shape[1:], n_classes=n_classes, n_samples=len(labels))
    settings = fit.list_settings()
    chosen: dict[str, tuple[Setting, float | None]] = dict.fromkeys(layers, (settings[0], None))
    problem = Problem(layers, labels, n_classes, seed, class_weights)
    try:
        generator = torch.Generator().manual_seed(seed)
        held_out = draw_held_out(labels, fraction=held_out_fraction, generator=generator)
    except NothingToHoldOutError:
        if len(settings) > 1:
            raise
    else:
        chosen = _choose_settings(problem, held_out, fit)
    fitted: dict[str, FittedProbe] = {}
    for setting in settings:
        some = {name: x for name, x in layers.items() if chosen[name][0] == setting}
        if some:
            for solved in solve(replace(problem, layers=some), [setting], fit):
                reached = chosen[solved.layer][1]
                fitted[solved.layer] = FittedProbe(solved.readout, setting, solved.converged, reached)
    return {name: fitted[name] for name in layers}


def _choose_settings(problem: Problem, held_out: Tensor, fit: Fit) -> dict[str, tuple[Setting, float | None]]:
    """Return for each layer the setting with the best held-out accuracy, and that."""
    shown = {name: x[held_out] for name, x in problem.layers.items()}
    labels = problem.labels[held_out]
    training = replace(
        problem,
        layers={name: x[~held_out] for name, x in problem.layers.items()},
        labels=problem.labels[~held_out],
    )

    def measure(names: Sequence[str], settings: Sequence[Setting]) -> dict[str, Accuracies]:
        some = replace(training, layers={name: training.layers[name] for name in names})
        accuracies: dict[str, Accuracies] = {name: {} for name in names}
        for solved in solve(some, settings, fit):
            logits = solved.readout.compute_logits(shown[solved.layer])
            accuracies[solved.layer][settings[solved.place]] = _measure(logits, labels)
        return accuracies

    names, settings = list(problem.layers), fit.list_settings()
    ties = fit.ties if isinstance(fit, AdamWFit) else "larger_decay"
    if isinstance(fit, AdamWFit) and fit.search == "coarse_to_fine":
        found = {}
        for name in names:

            def measure_layer(some: Sequence[Setting], name: str = name) -> Accuracies:
                return measure([name], some)[name]

            found[name] = search_coarse_to_fine(settings, measure_layer)
    else:
        found = measure(names, settings)
    chosen: dict[str, tuple[Setting, float | None]] = {}
    for name in names:
        tried = [setting for setting in settings if setting in found[name]]
        best = select_setting(tried, [found[name][setting] for setting in tried], ties=ties)
        chosen[name] = (best, found[name][best])
    return chosen


def _measure(logits: Tensor, labels: Tensor) -> float:
    if labels.ndim == 1:
        return measure_accuracy(logits.argmax(dim=1), labels).item()
    return measure_average_precision(logits, labels).mean
