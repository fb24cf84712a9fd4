"""What is known of a network's layers without its weights: names, cut points, shapes."""

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from rep_kedro.errors import UserError

if TYPE_CHECKING:
    from rep_kedro.models.network import LayeredNetwork
    from rep_kedro.models.outline import Outline as Sketch
    from rep_kedro.models.pooling_names import Layout

Shape = tuple[int, ...]


class Outline(NamedTuple):
    """What is known of a network's layers without its weights.

    Attributes:
        layers: Names, in depth order.
        cut_points: Those that no connection jumps over.
        kept: Those whose features are kept.
        n_classes: Width of its output.
    """

    layers: tuple[str, ...]
    cut_points: tuple[str, ...]
    kept: tuple[str, ...]
    n_classes: int


@lru_cache(maxsize=256)
def outline_layers(definition: str, n_classes: int) -> tuple[Outline, Mapping[str, Shape]]:
    """Return the layers of a definition of layers as data, in JSON, and their shapes for one image."""
    import torch

    from rep_kedro.models.architecture import Architecture
    from rep_kedro.models.building import build_network

    with torch.device("meta"):  # no weight is drawn
        network = cast(
            "LayeredNetwork",
            build_network(Architecture.model_validate_json(definition), n_classes=n_classes, seed=0),
        )
    outline = Outline(network.layer_names, network.cut_points, network.kept_layers, n_classes)
    return outline, network.shapes


@lru_cache(maxsize=64)
def trace_definition(definition: str, n_classes: int) -> "TracedOutline":
    """Return the layers of a network that a library or code of the user builds; the definition is JSON."""
    from rep_kedro.models.foreign import ForeignDefinition
    from rep_kedro.models.foreign_network import sketch_network

    return TracedOutline(sketch_network(ForeignDefinition.model_validate_json(definition), n_classes))


class TracedOutline:
    """The layers of a network that torch.fx follows.

    Args:
        sketch: The network without numbers.
        layout: Of its activations, if it is not to be found out.
    """

    def __init__(self, sketch: "Sketch", layout: "Layout" = "auto") -> None:
        self._sketch, self._layout = sketch, layout
        self._shapes: dict[str, Shape] = {}

    @cached_property
    def outline(self) -> Outline:
        """Its layers.

        Raises:
            UserError: If torch.fx cannot follow its code, or it does not give one number per class.
        """
        import torch

        from rep_kedro.models.cutting import CutNetwork

        with torch.no_grad():
            output = self._sketch.module(self._sketch.image)
        if getattr(output, "ndim", 0) != 2:
            raise UserError(f"its output is not one number per class: {_described(output)}")
        cut = CutNetwork(self._sketch.module)
        there = set(self._sketch.reader.survey.layers)
        layers, points = (tuple(x for x in names if x in there) for names in (cut.layers, cut.cut_points))
        return Outline(layers, points, self._sketch.reader.layers, int(output.shape[1]))

    def shape(self, layer: str) -> Shape:
        """Return the shape of a layer's output for one image, channels first in maps, last in tokens."""
        if layer not in self._shapes:
            self._shapes[layer] = self._find_shape(layer)
        return self._shapes[layer]

    def _find_shape(self, layer: str) -> Shape:
        from rep_kedro.models.layers import LayerReader

        reader = LayerReader(self._sketch.module, [layer], example=self._sketch.image, layout=self._layout)
        form = reader.find_forms("average")[layer]
        found = next(call.shape for call in reader.survey.calls if call.layer == layer) or ()
        axes = [axis for axis in range(len(found)) if axis not in {form.stimulus_axis, form.channel_axis}]
        order = [form.channel_axis, *axes] if form.kind == "map" else [*axes, form.channel_axis]
        return tuple(found[axis] for axis in order)


def _described(output: Any) -> str:
    shape = getattr(output, "shape", None)
    return type(output).__name__ if shape is None else f"shape {tuple(shape)} for one image"
