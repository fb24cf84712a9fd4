"""Networks of the training pipeline."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rep_kedro.errors import UserError
from rep_kedro.models.architecture import DefinedNetwork
from rep_kedro.models.architecture_files import load_definition
from rep_kedro.models.building import build_network, plain_module, restore_network
from rep_kedro.models.foreign import ForeignDefinition, read_definition
from rep_kedro.models.network import Network
from rep_kedro.models.preprocessing import Preprocessing
from rep_kedro.models.projector import rebuild_projector

MONITOR_PREFIX = "monitor/"
"""Begins the names of tensors that are not weights: what watched the training stored them."""


PROJECTOR_PREFIX = "projector/"
"""Begins the names of tensors of the projector that was trained with the network."""

EMBEDDING = "embedding"
"""The layer that features read what the projector gives from."""


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
    return not name.startswith((MONITOR_PREFIX, PROJECTOR_PREFIX))


def run_to_embedding(
    module: nn.Module, handle: NetworkHandle, layers: Sequence[str]
) -> Callable[[Tensor], object] | None:
    """Add the projector to a network as layer `embedding`, if one of these layers is in it.

    Args:
        module: The network; it gains a submodule.
        handle: Where it is stored.
        layers: Names or patterns; a pattern does not reach the projector unless it begins with its name.

    Returns:
        How to run network and projector; None for the network alone.

    Raises:
        UserError: If no projector is stored with the network.
    """
    if EMBEDDING in dict(module.named_children()) or not any(map(_is_of_projector, layers)):
        return None
    if "projector" not in handle.meta:
        raise UserError(
            "layer 'embedding' is that of a projector, but none is stored with the network; its objective is"
            f" {handle.meta.get('objective', 'unknown')!r}"
        )
    projector = rebuild_projector(handle.meta["projector"])
    state = projector.state_dict()
    state |= {
        name.removeprefix(PROJECTOR_PREFIX): torch.from_numpy(handle.tensor(name).copy())
        for name in handle.names
        if name.startswith(PROJECTOR_PREFIX)
    }
    projector.load_state_dict(state)
    module.add_module(EMBEDDING, projector)
    return lambda images: projector(module(images))


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
    today = load_definition(name).resized(definition.input.size_px)
    if today.as_json() != definition.as_json():
        raise UserError(
            f"architecture {name!r} or its code changed since a network was trained with it; run the training"
            " pipeline again"
        )
    return today


def kept_layers_of(handle: NetworkHandle) -> tuple[str, ...]:
    """Return the layers whose features are stored, in depth order; of networks of others maybe patterns."""
    return tuple(handle.meta["definition"]["keep"])


def layers_to_read(
    handle: NetworkHandle, chosen: tuple[str, ...], *, with_embedding: bool
) -> tuple[str, ...]:
    """Return the chosen layers, else those whose features are stored, maybe with that of the projector."""
    if chosen:
        return chosen
    has_projector = "projector" in handle.meta
    return (*kept_layers_of(handle), *((EMBEDDING,) if with_embedding and has_projector else ()))


def name_final_layer(layers: Sequence[str]) -> str:
    """Return the last of some layers in depth order, the projector's only if there are no others.

    Example:
        >>> name_final_layer(["relu5", "mean", "embedding"])
        'mean'
    """
    own = [name for name in layers if not _is_of_projector(name)]
    return (own or list(layers))[-1]


def _is_of_projector(layer: str) -> bool:
    return layer.partition(".")[0] == EMBEDDING


def preprocessing_of(handle: NetworkHandle) -> Preprocessing:
    """Return how the network's training images were preprocessed."""
    return Preprocessing.of_definition(read_definition(handle.meta["definition"]))
