"""Small architectures as data: a list of named layers in depth order, read from YAML and checked.

A layer takes the output of the layer before it unless `from` names others; `input` is the network's input.
Widths can be multiplied: `resnet20_w3` is `resnet20` with three times the channels.
"""

import re
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

from rep_kedro.errors import UserError

FOLDER = Path(__file__).parent / "architectures"
INPUT = "input"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class _Layer(_Strict):
    name: str = Field(pattern=r"^\w+(\.\w+)*$")
    inputs: tuple[str, ...] = Field(default=(), alias="from")

    @field_validator("inputs", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class Conv(_Layer):
    """Two-dimensional convolution; `channels` is the output width."""

    kind: Literal["conv"]
    channels: PositiveInt
    kernel: PositiveInt
    stride: PositiveInt = 1
    padding: int = Field(default=0, ge=0)
    dilation: PositiveInt = 1
    groups: PositiveInt = 1
    bias: bool = True


class Deconv(_Layer):
    """Transposed convolution, as in decoders; `channels` is the output width."""

    kind: Literal["deconv"]
    channels: PositiveInt
    kernel: PositiveInt
    stride: PositiveInt = 1
    padding: int = Field(default=0, ge=0)
    bias: bool = True


class Pad(_Layer):
    """Zeros around the map: `before` rows and columns at its start, `after` at its end."""

    kind: Literal["pad"]
    before: int = Field(default=0, ge=0)
    after: int = Field(default=0, ge=0)


class BatchNorm(_Layer):
    """Batch normalisation; `eps` is added to the variance."""

    kind: Literal["bn"]
    eps: float = Field(default=1e-5, gt=0)


class Pool(_Layer):
    """Maximum or average over windows; the stride is the kernel unless given."""

    kind: Literal["maxpool", "avgpool"]
    kernel: PositiveInt
    stride: PositiveInt | None = None
    padding: int = Field(default=0, ge=0)


class Linear(_Layer):
    """Fully connected layer; `features: classes` makes it the head."""

    kind: Literal["linear"]
    features: PositiveInt | Literal["classes"]
    bias: bool = True


class Subsample(_Layer):
    """Parameter-free shortcut: every `stride`-th pixel, channels filled up with zeros on both sides."""

    kind: Literal["subsample"]
    channels: PositiveInt
    stride: PositiveInt = 2


class Dropout(_Layer):
    """Set this fraction of the values to zero while training."""

    kind: Literal["dropout"]
    fraction: float = Field(ge=0, lt=1)


class Plain(_Layer):
    """A layer without settings.

    `mean` averages over all positions, `flatten` goes channel by channel, `flatten_channels_last` position by
    position.
    """

    kind: Literal[
        "relu", "relu6", "sigmoid", "tanh", "mean", "flatten", "flatten_channels_last", "add", "concat"
    ]


Layer = Annotated[
    Conv | Deconv | Pad | BatchNorm | Pool | Linear | Subsample | Dropout | Plain,
    Field(discriminator="kind"),
]


class InputSpec(_Strict):
    """What the network is fed: pixels / 255, less `mean`, divided by `std`, one value per channel."""

    channels: PositiveInt = 3
    size_px: PositiveInt
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @model_validator(mode="after")
    def _one_value_per_channel(self) -> Self:
        if {len(self.mean), len(self.std)} != {self.channels}:
            raise UserError(
                f"input needs one mean and std per channel ({self.channels}), got {self.mean} and {self.std}"
            )
        if min(self.std) <= 0:
            raise UserError(f"std of the input must be positive, got {self.std}")
        return self


class Architecture(_Strict):
    """A directed acyclic graph of named layers in depth order.

    Attributes:
        description: What it is and whose.
        input: Size and scaling of the images.
        layers: In order of execution; each layer's inputs are resolved, so never empty.
        keep: Layers whose features are stored, in depth order; the last one is the representation.
    """

    description: str
    input: InputSpec
    layers: tuple[Layer, ...] = Field(min_length=1)
    keep: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _resolve_inputs(cls, content: Any) -> Any:
        if not isinstance(content, dict) or not isinstance(content.get("layers"), list | tuple):
            return content
        previous, layers = INPUT, []
        for layer in content["layers"]:
            if not isinstance(layer, dict):
                return content
            given = layer.get("from", layer.get("inputs")) or previous
            layers.append({**{k: v for k, v in layer.items() if k not in {"from", "inputs"}}, "from": given})
            previous = layer.get("name", "")
        return {**content, "layers": layers}

    @model_validator(mode="after")
    def _require_sound_graph(self) -> Self:
        known = {INPUT}
        for layer in self.layers:
            if layer.name in known:
                raise UserError(f"layer name {layer.name!r} occurs twice")
            for source in layer.inputs:
                if source not in known:
                    raise UserError(
                        f"layer {layer.name!r} takes from {source!r}, which no earlier layer is called"
                    )
            many = layer.kind in {"add", "concat"}
            if many != (len(layer.inputs) > 1):
                raise UserError(
                    f"layer {layer.name!r} of kind {layer.kind} has {len(layer.inputs)} inputs,"
                    f" it takes {'two or more' if many else 'one'}"
                )
            known.add(layer.name)
        order = [layer.name for layer in self.layers if layer.name in self.keep]
        if tuple(order) != self.keep:
            raise UserError(
                f"keep must name layers in depth order, got {list(self.keep)}, known {sorted(known)}"
            )
        return self

    def widened(self, factor: int) -> "Architecture":
        """Return the same graph with `factor` times the channels in every convolution.

        A depthwise convolution, with a group for each channel, stays one.

        Raises:
            ValueError: If the network has a decoder, whose last width is that of the image.
        """
        layers = []
        for layer in self.layers:
            if isinstance(layer, Deconv):
                raise UserError(f"a network with a decoder cannot be widened: layer {layer.name!r}")
            change = {}
            if isinstance(layer, Conv | Subsample):
                change["channels"] = layer.channels * factor
            if isinstance(layer, Conv) and 1 < layer.groups == layer.channels:
                change["groups"] = layer.groups * factor
            layers.append(layer.model_copy(update=change))
        return self.model_copy(update={"layers": tuple(layers)})

    def as_json(self) -> dict[str, Any]:
        """Return the definition as plain JSON data, defaults included."""
        return self.model_dump(mode="json", by_alias=True)


def architecture_names() -> list[str]:
    """Return the names of the architectures that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yml"))


@cache
def load_architecture(name: str) -> Architecture:
    """Return the architecture called `name`; `<name>_w<n>` multiplies its widths by n.

    Raises:
        ValueError: If the name is unknown, or the file is not a sound graph.
    """
    base, factor = name, 1
    if name not in architecture_names() and (match := re.fullmatch(r"(\w+)_w([1-9]\d*)", name)):
        base, factor = match[1], int(match[2])
    path = FOLDER / f"{base}.yml"
    if not path.is_file():
        close = get_close_matches(base, architecture_names())
        raise UserError(
            f"unknown architecture {name!r}{f', did you mean {close[0]!r}' if close else ''};"
            f" known: {', '.join(architecture_names())}"
        )
    architecture = Architecture.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    return architecture if factor == 1 else architecture.widened(factor)
