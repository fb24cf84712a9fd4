"""Plain networks without batch norm: convolutions, one flattening, linear layers, numbered from 0."""

from typing import Any, ClassVar, Literal

from rep_kedro.models.architecture import Size
from rep_kedro.models.families.layout import read_layout
from rep_kedro.models.families.variant import LayeredVariant


class Plain(LayeredVariant):
    """One plain network; a head follows the last layer.

    Attributes:
        layout: Convolutions, poolings, `F`, linear layers, see `layout`; without `F` the head is preceded by
            a flattening.
        kernel: Of the convolutions, unless the layout says.
        activation: After every layer with weights but the head.
    """

    family: ClassVar[str] = "plain"

    layout: str
    kernel: Size = 3
    activation: Literal["relu", "sigmoid", "tanh"] = "relu"

    def expand(self) -> tuple[list[dict[str, Any]], list[str]]:
        """Return the layers, and the activations."""
        layers: list[dict[str, Any]] = []
        parts = read_layout(self.layout)
        for part in parts:
            match part.kind:
                case "conv":
                    size = {"kernel": part.kernel or self.kernel, "stride": part.stride}
                    layers.append(
                        {"kind": "conv", "channels": part.width, **size, "padding": part.padding or 0}
                    )
                case "linear":
                    layers.append({"kind": "linear", "features": part.width})
                case "pool":
                    layers.append({"kind": "maxpool", "kernel": 2})
                case "flatten":
                    layers.append({"kind": "flatten"})
            if part.width:
                layers.append({"kind": self.activation})
        if all(part.kind != "flatten" for part in parts):
            layers.append({"kind": "flatten"})
        layers.append({"kind": "linear", "features": "classes"})
        named = [{"name": str(i), **layer} for i, layer in enumerate(layers)]
        return named, [layer["name"] for layer in named if layer["kind"] == self.activation]
