"""The form of a network from elsewhere: its layers and their shapes on torch's meta device, without a weight.

What is wrong with an entry (an unknown network or layer, a pooling that the layer cannot give) is found here
in a fraction of a second, before anything is fetched or computed.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rep_kedro.models.layers import LayerReader
from rep_kedro.models.pooling_names import Pooling
from rep_kedro.models.preprocessing import Preprocessing
from rep_kedro.models.sources.specs import CheckpointModel, ZooEntry
from rep_kedro.models.sources.zoo import build_model, layout_of, prefix_of, resolve_preprocessing, runner_of


@dataclass(frozen=True)
class Outline:
    """A network without numbers.

    Attributes:
        module: The network on the meta device, in evaluation mode; names and shapes of its weights are those
            of the real one.
        preprocessing: From pixels to its input.
        reader: Of the layers that the entry names.
        image: One stimulus without numbers, with a batch axis.
    """

    module: nn.Module
    preprocessing: Preprocessing
    reader: LayerReader
    image: Tensor


def outline_network(entry: ZooEntry) -> Outline:
    """Return the outline of a network; no weight is read or fetched.

    Raises:
        ValueError: If name, preprocessing or layers are unknown.
    """
    preprocessing = resolve_preprocessing(entry)
    module = build_on_meta(entry)
    n_channels, side = len(preprocessing.mean), preprocessing.size_px
    image = torch.empty(1, n_channels, side, side, device="meta")
    layers = entry.layers or getattr(module, "kept_layers", ())
    return Outline(
        module, preprocessing, LayerReader(module, layers, example=image, run=runner_of(module)), image
    )


def require_readable(entry: ZooEntry, pooling: Pooling) -> dict[str, int]:
    """Check that a network can be read as its entry says.

    Args:
        entry: The network.
        pooling: From activations to features.

    Returns:
        Number of features by layer, in depth order.

    Raises:
        ValueError: If the network or a layer is unknown, or a layer cannot be pooled so.
    """
    outline = outline_network(entry)
    read = outline.reader.read(
        outline.image,
        pooling,
        layout=layout_of(entry, outline.module),
        n_prefix_tokens=prefix_of(entry, outline.module),
    )
    return {layer: features.shape[1] for layer, features in read.items()}


def build_on_meta(entry: ZooEntry) -> nn.Module:
    """Return the network with shapes in place of numbers."""
    with _Undrawn():
        if isinstance(entry, CheckpointModel):  # the project's own layers are made on the CPU
            return build_model(entry, with_weights=False).to("meta")
        try:
            with torch.device("meta"):
                return build_model(entry, with_weights=False)
        except NotImplementedError:  # a constructor that computes with tensors, as RegNet's of torchvision
            return build_model(entry, with_weights=False).to("meta")


class _Undrawn(TorchFunctionMode):
    """Leave new weights as they are: drawing them takes most of the time that building takes."""

    _DRAWING = frozenset(
        getattr(Tensor, f"{name}_")
        for name in ("normal", "uniform", "erfinv", "zero", "fill", "mul", "add", "div", "sub", "clamp")
    )

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in self._DRAWING and (args[0].is_meta or isinstance(args[0], nn.Parameter)):
            return args[0]
        return func(*args, **(kwargs or {}))
