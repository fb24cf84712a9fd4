"""What a fitted probe is: from features, as they are, to a number for each class."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rep_kedro.kernels.probes import attentive
from rep_kedro.kernels.probes.knn import Neighbours, count_votes, find_neighbours
from rep_kedro.kernels.probes.mlp import MlpWeights, compute_logits
from rep_kedro.kernels.probes.probe import Standardisation
from rep_kedro.kernels.probes.settings import Setting


class Readout(Protocol):
    """A probe for features as they are, not standardised."""

    def compute_logits(self, x: Tensor) -> Tensor:
        """Return a number for each sample and class, (n_samples, n_classes), float64."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What there is to store, by name."""


@dataclass(frozen=True)
class LinearReadout:
    """A matrix and a bias.

    Attributes:
        weight: Shape (n_features, n_classes), float64.
        bias: Shape (n_classes,), float64.
    """

    weight: Tensor
    bias: Tensor

    @classmethod
    def of_standardised(cls, weight: Tensor, standard: Standardisation) -> "LinearReadout":
        """Return the probe from weights (n_features + 1, n_classes) for standardised features."""
        inverse = (1.0 / standard.scale).masked_fill(standard.scale == 0.0, 0.0)
        for_features = weight[:-1] * inverse[:, None]
        return cls(for_features, weight[-1] - standard.mean @ for_features)

    def compute_logits(self, x: Tensor) -> Tensor:
        """Return (n_samples, n_classes)."""
        return x.to(self.weight.dtype) @ self.weight + self.bias

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Weight and bias."""
        return {"weight": self.weight, "bias": self.bias}


@dataclass(frozen=True)
class MlpReadout:
    """A network with one hidden layer behind the standardisation, (n_settings = 1, ...)."""

    weights: MlpWeights
    standard: Standardisation

    def compute_logits(self, x: Tensor) -> Tensor:
        """Return (n_samples, n_classes)."""
        ready = self.standard.apply(x).to(self.weights.hidden.dtype)
        return compute_logits(self.weights, ready)[0].to(torch.float64)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Weights and biases of both layers, and what standardises."""
        hidden, output = (w[0] for w in self.weights)
        return {
            "mean": self.standard.mean,
            "scale": self.standard.scale,
            "hidden_weight": hidden[:-1],
            "hidden_bias": hidden[-1],
            "weight": output[:-1],
            "bias": output[-1],
        }


@dataclass(frozen=True)
class AttentiveReadout:
    """Queries and a classifier behind the standardisation of tokens, (n_settings = 1, ...)."""

    weights: attentive.AttentiveWeights
    standard: Standardisation

    def compute_logits(self, x: Tensor) -> Tensor:
        """Return (n_samples, n_classes) of tokens (n_samples, n_tokens, n_features), block by block."""
        rows = max(1, attentive.BLOCK_BYTES // (8 * x.shape[1] * x.shape[2]))
        parts = [
            attentive.compute_logits(self.weights, attentive.standardise(block, self.standard))[0]
            for block in torch.split(x, rows)
        ]
        return torch.cat(parts).to(torch.float64)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Queries, classifier, and what standardises."""
        queries, output = (w[0] for w in self.weights)
        return {
            "mean": self.standard.mean,
            "scale": self.standard.scale,
            "queries": queries,
            "weight": output[:-1],
            "bias": output[-1],
        }


class Bank:
    """Standardised training samples with labels; the neighbours of the samples seen last are remembered.

    So all settings that are asked one after the other about the same samples share one search.
    """

    def __init__(
        self, x: Tensor, labels: Tensor, standard: Standardisation, *, most: int, memory_mib: int
    ) -> None:
        self.x, self.labels, self.standard = x, labels, standard
        self.most, self.memory_mib = most, memory_mib
        self._seen: tuple[Tensor, str, Neighbours] | None = None

    def find(self, x: Tensor, metric: str) -> Neighbours:
        """Return the nearest training samples of features as they are."""
        if self._seen is None or self._seen[0] is not x or self._seen[1] != metric:
            found = find_neighbours(
                self.standard.apply(x),
                self.x,
                n_neighbours=self.most,
                metric=metric,
                memory_mib=self.memory_mib,
            )
            self._seen = (x, metric, found)
        return self._seen[2]


@dataclass(frozen=True)
class NeighbourReadout:
    """Votes of the nearest training samples; logits are logarithms of their shares.

    Attributes:
        bank: The training samples.
        n_classes: Number of classes.
        setting: How many vote, and how.
        class_weights: What a vote for each class counts, (n_classes,); None: 1.
    """

    bank: Bank
    n_classes: int
    setting: Setting
    class_weights: Tensor | None = None

    def compute_logits(self, x: Tensor) -> Tensor:
        """Return (n_samples, n_classes); minus infinity where a class has no vote."""
        neighbours = self.bank.find(x, str(self.setting.metric))
        votes = count_votes(neighbours, self.bank.labels, n_classes=self.n_classes, setting=self.setting)
        if self.bank.labels.ndim == 2:
            return torch.logit(votes.clamp(0.0, 1.0))
        return (votes if self.class_weights is None else votes * self.class_weights.to(votes)).log()

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Nothing: the probe is the training features themselves."""
        return {}
