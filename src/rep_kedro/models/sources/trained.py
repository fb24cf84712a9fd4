"""Networks of the training pipeline."""

from typing import Any, Protocol, cast

import torch
from torch import nn

from rep_kedro.errors import UserError
from rep_kedro.models.architecture import DefinedNetwork
from rep_kedro.models.architecture_files import load_definition, require_layers
from rep_kedro.models.foreign import ForeignDefinition, read_definition
from rep_kedro.models.network import LayeredNetwork, Network, build_network, plain_module, restore_network
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


def restore_trained_network(handle: NetworkHandle) -> nn.Module:
    """Return a stored network as it was trained, on the CPU, in evaluation mode.

    It is a `LayeredNetwork`, or the module of a library or of code of the user itself.
    """
    return plain_module(restore_for_training(handle))


def restore_for_training(handle: NetworkHandle) -> Network:
    """Return the same network as training uses it: called with images, it gives rows of numbers."""
    # Copies: mapped files are read-only, and torch needs to own its memory.
    state = {name: torch.from_numpy(handle.tensor(name).copy()) for name in handle.names if _is_weight(name)}
    return restore_network(definition_of(handle), handle.meta["n_classes"], state)


def _is_weight(name: str) -> bool:
    return not name.startswith(MONITOR_PREFIX)


def restore_layered_network(handle: NetworkHandle) -> LayeredNetwork:
    """Return a stored network that can be cut between its layers.

    Raises:
        UserError: If it is one of a library or of code of the user.
    """
    require_layers(handle.meta.get("architecture", "of the network"), definition_of(handle))
    return cast("LayeredNetwork", restore_trained_network(handle))


def rebuild_trained_network(handle: NetworkHandle) -> nn.Module:
    """Return a network of the same layers with freshly drawn weights, for whoever needs only its form."""
    return plain_module(
        build_network(definition_of(handle), n_classes=handle.meta["n_classes"], seed=0)
    ).eval()


def definition_of(handle: NetworkHandle) -> DefinedNetwork:
    """Return the definition that the network was built from, which may not be today's of that name.

    Raises:
        UserError: If it is code of the user, and today's of that name is missing, not allowed or other code:
            what is stored is never run.
    """
    definition = read_definition(handle.meta["definition"])
    if not isinstance(definition, ForeignDefinition) or definition.library != "python":
        return definition
    name = handle.meta["architecture"]
    today = load_definition(name)
    if today.as_json() != definition.as_json():
        raise UserError(
            f"architecture {name!r} or its code changed since a network was trained with it; run the training"
            " pipeline again"
        )
    return today


def kept_layers_of(handle: NetworkHandle) -> tuple[str, ...]:
    """Return the layers whose features are stored, in depth order; of networks of others maybe patterns."""
    return tuple(handle.meta["definition"]["keep"])


def preprocessing_of(handle: NetworkHandle) -> Preprocessing:
    """Return how the network's training images were preprocessed."""
    return Preprocessing.of_definition(read_definition(handle.meta["definition"]))
