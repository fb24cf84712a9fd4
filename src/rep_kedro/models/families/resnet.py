"""ResNets (He et al. 2016, arXiv:1512.03385) with the stem of ImageNet or CIFAR, and without some skips.

Layers have torchvision's names, `layer1.0.conv1`; additions and ReLUs are layers of their own. The variants
are those of Richter et al. 2021 (arXiv:2102.01582, arXiv:2106.12307).
"""

from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from rep_kedro.errors import UserError
from rep_kedro.models.architecture import Size
from rep_kedro.models.families.variant import LayeredVariant

_EXPANSION = 4
_Layers = list[dict[str, Any]]


class ResNet(LayeredVariant):
    """One ResNet.

    Attributes:
        blocks: Blocks of each stage.
        block: Two 3 x 3 convolutions, or 1 x 1, 3 x 3, 1 x 1 to four times the width.
        width: Channels of the first stage; each stage doubles them.
        most_width: Where the doubling ends.
        scale: Divides all widths; below 1 widens.
        stem_kernel, stem_stride, stem_pool: Of the first convolution, and whether a pooling by two follows.
        without_skips: Stages, counted from 1, whose blocks add nothing; or `all`.
        shortcut: Where shapes change, a `projection` by a 1 x 1 convolution, or `padded`, option A, without
            weights. `every_block` projects in all blocks; `inside_stages` has no skip in the first block of a
            stage.
        names: Of shortcuts and head: `downsample` and `fc`, or `shortcut` and `linear`.
    """

    family: ClassVar[str] = "resnet"

    blocks: tuple[Size, ...] = Field(min_length=1, max_length=20)
    block: Literal["basic", "bottleneck"] = "basic"
    width: Size = 64
    most_width: Size = 512
    scale: float = Field(default=1.0, gt=0)
    stem_kernel: Size = 7
    stem_stride: Size = 2
    stem_pool: bool = True
    without_skips: tuple[Size, ...] | Literal["all"] = ()
    shortcut: Literal["projection", "padded", "every_block", "inside_stages"] = "projection"
    names: Literal["torchvision", "shortcut"] = "torchvision"

    @model_validator(mode="after")
    def _require_known_stages(self) -> Self:
        if self.without_skips != "all" and any(stage > len(self.blocks) for stage in self.without_skips):
            raise UserError(f"without_skips {list(self.without_skips)}: there are {len(self.blocks)} stages")
        if self.block == "bottleneck" and self.shortcut == "padded":
            raise UserError("shortcut padded is for block basic")
        return self

    def expand(self) -> tuple[_Layers, list[str]]:
        """Return the layers, the stem's ReLU and the last ReLU of every block."""
        width = self._width_of(0)
        layers: _Layers = [
            _conv("conv1", width, self.stem_kernel, self.stem_stride),
            {"name": "bn1", "kind": "bn"},
            {"name": "relu1", "kind": "relu"},
        ]
        keep = ["relu1"]
        if self.stem_pool:
            layers.append({"name": "maxpool", "kind": "maxpool", "kernel": 3, "stride": 2, "padding": 1})
        for stage, n_blocks in enumerate(self.blocks):
            for i in range(n_blocks):
                block = _Block(
                    name=f"layer{stage + 1}.{i}",
                    source=layers[-1]["name"],
                    n_in=width,
                    n_mid=self._width_of(stage),
                    n_out=self._width_of(stage) * (_EXPANSION if self.block == "bottleneck" else 1),
                    stride=2 if stage and i == 0 else 1,
                )
                is_first = self.shortcut == "inside_stages" and i == 0
                layers += self._block(block, has_skip=not is_first and self._has_skips(stage + 1))
                width = block.n_out
                keep.append(layers[-1]["name"])
        head = "fc" if self.names == "torchvision" else "linear"
        layers += [{"name": "mean", "kind": "mean"}, {"name": head, "kind": "linear", "features": "classes"}]
        return layers, keep

    def _width_of(self, stage: int) -> int:
        return max(1, int(min(self.width * 2**stage, max(self.width, self.most_width)) / self.scale))

    def _has_skips(self, stage: int) -> bool:
        return self.without_skips != "all" and stage not in self.without_skips

    def _block(self, block: "_Block", *, has_skip: bool) -> _Layers:
        name = block.name
        main = (
            [_conv("conv1", block.n_mid, 3, block.stride), _conv("conv2", block.n_out, 3)]
            if self.block == "basic"
            else [
                _conv("conv1", block.n_mid, 1),
                _conv("conv2", block.n_mid, 3, block.stride),
                _conv("conv3", block.n_out, 1),
            ]
        )
        layers: _Layers = []
        for number, conv in enumerate(main, 1):
            layers += [
                {**conv, "name": f"{name}.{conv['name']}"},
                {"name": f"{name}.bn{number}", "kind": "bn"},
                {"name": f"{name}.relu{number}", "kind": "relu"},
            ]
        if not has_skip:
            return layers
        relu, end = layers.pop(), layers[-1]["name"]
        shortcut = self._shortcut(block)
        beginning = shortcut[-1]["name"] if shortcut else block.source
        return [*layers, *shortcut, {"name": f"{name}.add", "kind": "add", "from": [end, beginning]}, relu]

    def _shortcut(self, block: "_Block") -> _Layers:
        is_same = block.n_in == block.n_out and block.stride == 1
        if is_same and self.shortcut != "every_block":
            return []
        if self.shortcut == "padded":
            settings = {"channels": block.n_out, "stride": block.stride, "from": block.source}
            return [{"name": f"{block.name}.shortcut", "kind": "subsample", **settings}]
        name = f"{block.name}.{'downsample' if self.names == 'torchvision' else 'shortcut'}"
        projection = {**_conv(f"{name}.0", block.n_out, 1, block.stride), "from": block.source}
        return [projection, {"name": f"{name}.1", "kind": "bn"}]


class _Block(NamedTuple):
    """Where a block is and how wide: channels that it takes, works with and gives."""

    name: str
    source: str
    n_in: int
    n_mid: int
    n_out: int
    stride: int


def _conv(name: str, channels: int, kernel: int, stride: int = 1) -> dict[str, Any]:
    size = {"kernel": kernel, "stride": stride, "padding": kernel // 2}
    return {"name": name, "kind": "conv", "channels": channels, **size, "bias": False}
