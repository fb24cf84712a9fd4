"""A fitted probe, and what it says of features as they are stored."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Setting:
    """One way to fit a probe; the convex probe has no learning rate."""

    weight_decay: float
    learning_rate: float | None


@dataclass(frozen=True)
class FittedProbe:
    """A probe for features as they are stored.

    Attributes:
        weight: Shape (n_features, n_classes), float64.
        bias: Shape (n_classes,), float64.
        setting: The chosen one.
        converged: Whether the fit reached its optimum; None for stochastic probes.
        validation_accuracy: On held-out training samples, of a probe with the same setting that was fitted on
            the others; None where none could be held out.
    """

    weight: "Tensor"
    bias: "Tensor"
    setting: Setting
    converged: bool | None
    validation_accuracy: float | None = None


def predict(probe: FittedProbe, x: "Tensor") -> "Tensor":
    """Return the class that the probe gives each sample."""
    return _compute_logits(probe, x).argmax(dim=1)


def predict_probabilities(probe: FittedProbe, x: "Tensor") -> "Tensor":
    """Return the probabilities that the probe gives the classes, (n_samples, n_classes), rows sum to 1."""
    return _compute_logits(probe, x).softmax(dim=1)


def _compute_logits(probe: FittedProbe, x: "Tensor") -> "Tensor":
    return x.to(probe.weight.dtype) @ probe.weight + probe.bias
