"""Layers of a network, batch by batch, each given away as soon as the network has computed it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rep_kedro.errors import UserError
from rep_kedro.models.layers import LayerReader, require_reached
from rep_kedro.models.pooling import pool_activation
from rep_kedro.models.pooling_names import Pooling
from rep_kedro.models.survey import CALL_SEPARATOR, listening, sole_tensor


class _LastLayerReached(Exception):  # noqa: N818 - not an error, it ends a pass
    pass


def stream_layers(
    module: nn.Module,
    reader: LayerReader,
    x: Tensor,
    take: Callable[[str, Tensor], None],
    pooling: Pooling,
) -> None:
    """Pass one batch through a network and hand over the features of its layers one after the other.

    What is handed over is a view of what the network computes, and may be overwritten by its next layer.

    Args:
        module: The network that the reader was made for.
        reader: Which layers.
        x: Stimuli as the network takes them.
        take: Receives the layer's name and its features, float32, (n_stimuli, n_features).
        pooling: From activations to features.

    Raises:
        UserError: If a layer gives no tensor with a row for each stimulus, cannot be pooled, or is skipped.
    """
    forms = reader.find_forms(pooling)
    by_call = {name if CALL_SEPARATOR in name else f"{name}{CALL_SEPARATOR}1": name for name in reader.layers}
    left = set(by_call)

    def keep(call: str, output: object) -> None:
        if call not in left:
            return
        name = by_call[call]
        part = module.get_submodule(call.partition(CALL_SEPARATOR)[0])
        activation, form = sole_tensor(part, output), forms[name]
        if activation is None or activation.shape[form.stimulus_axis] != len(x):
            shape = None if activation is None else tuple(activation.shape)
            raise UserError(
                f"layer {name!r} returned {shape or type(output).__name__} for {len(x)} stimuli; "
                "choose a layer around it"
            )
        features = pool_activation(activation, pooling, form)
        take(name, features)
        left.discard(call)
        if not left:
            raise _LastLayerReached

    modules = {call.partition(CALL_SEPARATOR)[0] for call in by_call}
    with listening(module, keep, modules), torch.no_grad():
        try:
            module(x)
        except _LastLayerReached:
            return
    require_reached(reader.layers, [name for call, name in by_call.items() if call not in left])
