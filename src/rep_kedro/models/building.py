"""Networks built from a definition, of this project's layers or by others.

Those of others are in `foreign_network`, which is named only at run time: the weights of this project's own
do not depend on it.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import cast

from torch import Tensor, nn

from rep_kedro.errors import UserError
from rep_kedro.models.architecture import Architecture, DefinedNetwork
from rep_kedro.models.architecture_files import load_definition
from rep_kedro.models.network import Network, build_layered_network


def build_network(architecture: DefinedNetwork | str, *, n_classes: int | None, seed: int) -> Network:
    """Return a network with freshly drawn weights, in training mode.

    Weights are drawn as the definition says, see `initialisation`, or as a library draws them. The global
    random state is neither read nor changed.

    Args:
        architecture: A definition, or the name of one.
        n_classes: Width of the head; None leaves the head out.
        seed: Seed of the weights.

    Raises:
        ValueError: If the name is unknown or the layers do not fit together.
    """
    definition = load_definition(architecture) if isinstance(architecture, str) else architecture
    if isinstance(definition, Architecture):
        return build_layered_network(definition, n_classes=n_classes, seed=seed)
    foreign = import_module("rep_kedro.models.foreign_network")
    return cast("Network", foreign.build_foreign_network(definition, n_classes, seed))


def restore_network(
    definition: DefinedNetwork, n_classes: int | None, state: Mapping[str, Tensor]
) -> Network:
    """Return a network with given weights, in evaluation mode.

    Raises:
        ValueError: If the weights do not belong to the architecture.
    """
    network = build_network(definition, n_classes=n_classes, seed=0)
    # Files older than torch 0.4.1 have no batch counters; nothing but a momentum of None reads them.
    counters = {k: v for k, v in network.state_dict().items() if k.endswith("num_batches_tracked")}
    try:
        network.load_state_dict({**counters, **state})
    except RuntimeError as error:
        raise UserError(f"weights do not fit the architecture: {' '.join(str(error).split())}") from error
    return network.eval()


def plain_module(network: Network) -> nn.Module:
    """Return the module that others than training use: a network of a library is the library's own."""
    module = getattr(network, "plain", network)
    return cast("nn.Module", module)
