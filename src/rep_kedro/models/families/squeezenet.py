"""SqueezeNet 1.1 (Iandola et al. 2016, arXiv:1602.07360) and ablations of its modules.

A module squeezes the channels by a 1 x 1 convolution, expands them along two paths, 1 x 1 and 3 x 3, and
joins these. Layers have torchvision's names: `features.3.squeeze`.
"""

from typing import Any, ClassVar, Literal

from rep_kedro.models.families.variant import LayeredVariant

_MODULES = ((16, 64), (16, 64), None, (32, 128), (32, 128), None, (48, 192), (48, 192), (64, 256), (64, 256))
_POOL = {"kind": "maxpool", "kernel": 3, "stride": 2, "ceil": True}
_Layers = list[dict[str, Any]]


class SqueezeNet(LayeredVariant):
    """One SqueezeNet.

    Attributes:
        squeeze: By the 1 x 1 convolution, not at all, or to the same number of channels.
        paths: Both, or the 3 x 3 alone, as wide as both.
        depth: Convolutions on the 3 x 3 path.
        joins_input: Whether a module's input is joined to its output.
    """

    family: ClassVar[str] = "squeezenet"

    squeeze: Literal["reducing", "same_width", "none"] = "reducing"
    paths: Literal["both", "3x3"] = "both"
    depth: Literal[1, 2] = 1
    joins_input: bool = False

    def expand(self) -> tuple[_Layers, list[str]]:
        """Return the layers, and what each module gives."""
        layers: _Layers = [
            {"name": "features.0", "kind": "conv", "channels": 64, "kernel": 3, "stride": 2},
            {"name": "features.1", "kind": "relu"},
            {"name": "features.2", **_POOL},
        ]
        keep, width = ["features.1"], 64
        for i, module in enumerate(_MODULES, 3):
            if module is None:
                layers.append({"name": f"features.{i}", **_POOL})
                continue
            layers += self._module(f"features.{i}", layers[-1]["name"], width, *module)
            width = 2 * module[1] + (width if self.joins_input else 0)
            keep.append(layers[-1]["name"])
        layers += [
            {"name": "classifier.0", "kind": "dropout", "fraction": 0.5},
            {"name": "classifier.1", "kind": "conv", "channels": "classes", "kernel": 1},
            {"name": "classifier.2", "kind": "relu"},
            {"name": "classifier.3", "kind": "mean"},
        ]
        return layers, keep

    def _module(self, name: str, source: str, width: int, n_squeezed: int, n_expanded: int) -> _Layers:
        layers: _Layers = []
        middle = source
        if self.squeeze != "none":
            channels = n_squeezed if self.squeeze == "reducing" else width
            layers += _convolution(f"{name}.squeeze", source, channels, 1)
            middle = layers[-1]["name"]
        ends = []
        if self.paths == "both":
            layers += _convolution(f"{name}.expand1x1", middle, n_expanded, 1)
            ends.append(layers[-1]["name"])
        n_last, before = n_expanded * (1 if self.paths == "both" else 2), middle
        for number in range(self.depth):
            suffix = "" if number == 0 else f"_{number + 1}"
            layers += _convolution(f"{name}.expand3x3{suffix}", before, n_last, 3)
            before = layers[-1]["name"]
        ends += [before, *([source] if self.joins_input else [])]
        if len(ends) > 1:
            layers.append({"name": f"{name}.concat", "kind": "concat", "from": ends})
        return layers


def _convolution(name: str, source: str, channels: int, kernel: int) -> _Layers:
    size = {"channels": channels, "kernel": kernel, "padding": kernel // 2}
    return [
        {"name": name, "kind": "conv", **size, "from": source},
        {"name": f"{name}_activation", "kind": "relu"},
    ]
