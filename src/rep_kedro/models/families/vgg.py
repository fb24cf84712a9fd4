"""VGGs with batch norm (Simonyan & Zisserman 2015, arXiv:1409.1556), as Richter et al. vary them.

Convolution, batch norm and ReLU along the layout, then a read-out and two linear layers with batch norm and
dropout (2021, arXiv:2102.01582). Layers are numbered as in torchvision: `features.0`, `classifier.2`.
"""

from typing import Any, ClassVar, Literal

from pydantic import PositiveInt

from rep_kedro.errors import UserError
from rep_kedro.models.architecture import Initialisation, Size
from rep_kedro.models.families.layout import Part, read_layout
from rep_kedro.models.families.variant import LayeredVariant

_DROPOUT = 0.25


class Vgg(LayeredVariant):
    """One VGG.

    Attributes:
        layout: Convolutions and poolings, see `layout`.
        kernel: Of the convolutions, unless the layout says.
        dilation: Of all convolutions.
        padding: `same` keeps the side of a map; `published` is that of the published code, two less than the
            reach of the kernel, by which maps grow unless the kernel is 3 and not dilated.
        readout: Mean over all positions, all positions, or windows that give a map of this side.
        hidden: Width of the first linear layer; half the last convolution's unless given.
    """

    family: ClassVar[str] = "vgg"

    layout: str
    kernel: Size = 3
    dilation: Size = 1
    padding: Literal["same", "published"] = "same"
    readout: Literal["mean", "flatten"] | PositiveInt = "mean"
    hidden: Size | None = None
    init: Initialisation = "he_normal_linear"

    def expand(self) -> tuple[list[dict[str, Any]], list[str]]:
        """Return the layers, and the ReLUs."""
        features: list[dict[str, Any]] = []
        parts = read_layout(self.layout)
        for part in parts:
            match part.kind:
                case "conv":
                    features += [self._convolution(part), {"kind": "bn"}, {"kind": "relu"}]
                case "pool":
                    features.append({"kind": "maxpool", "kernel": 2})
                case _:
                    raise UserError(f"layout {self.layout[:60]!r}: a VGG has no F; its head is its own")
        hidden = self.hidden or max(1, next(part.width for part in reversed(parts) if part.width) // 2)
        head: list[dict[str, Any]] = [
            {"kind": "bn"},
            {"kind": "dropout", "fraction": _DROPOUT},
            {"kind": "linear", "features": hidden},
            {"kind": "relu"},
            {"kind": "bn"},
            {"kind": "dropout", "fraction": _DROPOUT},
            {"kind": "linear", "features": "classes"},
        ]
        layers = [*_numbered("features", features), *self._readout(), *_numbered("classifier", head)]
        return layers, [layer["name"] for layer in layers if layer["kind"] == "relu"]

    def _convolution(self, part: Part) -> dict[str, Any]:
        kernel = part.kernel or self.kernel
        reach = self.dilation * (kernel - 1) + 1
        padding = part.padding
        if padding is None:
            padding = (reach - 1) // 2 if self.padding == "same" else max(0, reach - 2)
        if self.padding == "same" and part.padding is None and reach % 2 == 0:
            raise UserError(f"kernel {kernel} is even, which no padding keeps at one side; give /p in layout")
        return {
            "kind": "conv",
            "channels": part.width,
            "kernel": kernel,
            "stride": part.stride,
            "padding": padding,
            "dilation": self.dilation,
        }

    def _readout(self) -> list[dict[str, Any]]:
        if self.readout == "mean":
            return [{"name": "avgpool", "kind": "mean"}]
        pool = (
            []
            if self.readout == "flatten"
            else [{"name": "avgpool", "kind": "adaptive_avgpool", "side": self.readout}]
        )
        return [*pool, {"name": "flatten", "kind": "flatten"}]


def _numbered(prefix: str, layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": f"{prefix}.{i}", **layer} for i, layer in enumerate(layers)]
