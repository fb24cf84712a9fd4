"""Networks of the training pipeline."""

from typing import Any, Protocol

import torch

from rep_kedro.models.architecture import Architecture
from rep_kedro.models.network import LayeredNetwork, build_network, restore_network
from rep_kedro.models.preprocessing import Preprocessing

MONITOR_PREFIX = "monitor/"
"""Begins the names of tensors that are no weights: what watched the training stored them."""


class NetworkHandle(Protocol):
    """What is needed of a stored network."""

    @property
    def meta(self) -> Any:
        """The metadata of the training."""

    @property
    def names(self) -> list[str]:
        """Names of the tensors."""

    def tensor(self, name: str) -> Any:
        """Return one tensor as a numpy array."""


def restore_trained_network(handle: NetworkHandle) -> LayeredNetwork:
    """Return a stored network as it was trained, on the CPU, in evaluation mode."""
    # Copies: mapped files are read-only, and torch needs to own its memory.
    state = {name: torch.from_numpy(handle.tensor(name).copy()) for name in handle.names if _is_weight(name)}
    return restore_network(definition_of(handle), handle.meta["n_classes"], state)


def _is_weight(name: str) -> bool:
    return not name.startswith(MONITOR_PREFIX)


def rebuild_trained_network(handle: NetworkHandle) -> LayeredNetwork:
    """Return a network of the same layers with freshly drawn weights, for whoever needs only its form."""
    return build_network(definition_of(handle), n_classes=handle.meta["n_classes"], seed=0).eval()


def definition_of(handle: NetworkHandle) -> Architecture:
    """Return the definition that the network was built from, which may not be today's of that name."""
    return Architecture.model_validate(handle.meta["definition"])


def preprocessing_of(handle: NetworkHandle) -> Preprocessing:
    """Return how the network's training images were preprocessed."""
    return Preprocessing.of_architecture(definition_of(handle))
