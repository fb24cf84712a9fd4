"""Architectures as data: a list of named layers in depth order, checked.

A layer takes the output of the layer before it unless `from` names others; `input` is the network's input.
docs/architectures.md lists the kinds of layers.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from rep_kedro.errors import UserError
from rep_kedro.parameter_model import Parameters

INPUT = "input"
MOST_LAYERS = 5_000
LARGEST_SIZE = 1_000_000
_WIDEST = 1e6

Size = Annotated[int, Field(gt=0, le=LARGEST_SIZE)]
Margin = Annotated[int, Field(ge=0, le=LARGEST_SIZE)]
Width = Annotated[
    Annotated[Size, Tag("number")] | Annotated[Literal["classes"], Tag("word")],
    Discriminator(lambda width: "word" if isinstance(width, str) else "number"),
]
Initialisation = Literal["he", "he_normal_linear", "torch"]


class _Strict(Parameters):
    model_config = ConfigDict(populate_by_name=True)


class _Layer(_Strict):
    name: str = Field(pattern=r"^[A-Za-z0-9]\w*(\.[A-Za-z0-9]\w*)*$", max_length=200)
    inputs: tuple[str, ...] = Field(default=(), alias="from")

    @field_validator("inputs", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class Conv(_Layer):
    """Two-dimensional convolution; `channels` is the output width, `channels: classes` makes it the head."""

    kind: Literal["conv"]
    channels: Width
    kernel: Size
    stride: Size = 1
    padding: Margin = 0
    dilation: Size = 1
    groups: Size = 1
    bias: bool = True


class Deconv(_Layer):
    """Transposed convolution, as in decoders; `channels` is the output width."""

    kind: Literal["deconv"]
    channels: Size
    kernel: Size
    stride: Size = 1
    padding: Margin = 0
    bias: bool = True


class Pad(_Layer):
    """Zeros around the map: `before` rows and columns at its start, `after` at its end."""

    kind: Literal["pad"]
    before: Margin = 0
    after: Margin = 0


class BatchNorm(_Layer):
    """Batch normalisation; `eps` is added to the variance."""

    kind: Literal["bn"]
    eps: float = Field(default=1e-5, gt=0)


class Pool(_Layer):
    """Maximum or average over windows; the stride is the kernel unless given.

    With `ceil` a window that reaches beyond the end counts too.
    """

    kind: Literal["maxpool", "avgpool"]
    kernel: Size
    stride: Size | None = None
    padding: Margin = 0
    ceil: bool = Field(default=False, exclude_if=lambda ceil: not ceil)


class AdaptivePool(_Layer):
    """Average over windows such that the map becomes `side` x `side`."""

    kind: Literal["adaptive_avgpool"]
    side: Size


class Linear(_Layer):
    """Fully connected layer; `features: classes` makes it the head."""

    kind: Literal["linear"]
    features: Width
    bias: bool = True


class Subsample(_Layer):
    """Parameter-free shortcut: every `stride`-th pixel, channels filled up with zeros on both sides."""

    kind: Literal["subsample"]
    channels: Size
    stride: Size = 2


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
    Conv | Deconv | Pad | BatchNorm | Pool | AdaptivePool | Linear | Subsample | Dropout | Plain,
    Field(discriminator="kind"),
]


class InputSpec(_Strict):
    """What the network is fed: pixels / 255, less `mean`, divided by `std`, one value per channel."""

    channels: Size = 3
    size_px: Size
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @model_validator(mode="after")
    def _one_value_per_channel(self) -> Self:
        if {len(self.mean), len(self.std)} != {self.channels}:
            raise UserError(
                f"input needs one mean and std per channel ({self.channels}), got {self.mean} and {self.std}"
            )
        require_scaling(self.mean, self.std, "of the input")
        return self


class DefinedNetwork(_Strict):
    """What the definition of any network says that can be trained.

    Attributes:
        description: What it is and whose.
        input: Size and scaling of the images.
    """

    description: str
    input: InputSpec

    def resized(self, size_px: int) -> Self:
        """Return the same network for images of another side, in pixels."""
        return self.model_copy(update={"input": self.input.model_copy(update={"size_px": size_px})})

    def as_json(self) -> dict[str, Any]:
        """Return the definition as plain JSON data, defaults included."""
        return self.model_dump(mode="json", by_alias=True)


class Architecture(DefinedNetwork):
    """A directed acyclic graph of named layers in depth order.

    Attributes:
        init: How weights are drawn: see `rep_kedro.models.initialisation`.
        layers: In order of execution; each layer's inputs are resolved, so never empty.
        keep: Layers whose features are stored, in depth order; the last one is the representation.
    """

    init: Initialisation = Field(default="he", exclude_if=lambda init: init == "he")
    layers: tuple[Layer, ...] = Field(min_length=1, max_length=MOST_LAYERS)
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
                        f"layer {layer.name!r} takes its input from {source!r}, which is not an earlier layer"
                    )
            many = layer.kind in {"add", "concat"}
            if many != (len(layer.inputs) > 1):
                raise UserError(
                    f"layer {layer.name!r} of kind {layer.kind} has {len(layer.inputs)} inputs;"
                    f" it takes {'two or more' if many else 'one'}"
                )
            known.add(layer.name)
        _require_no_layer_within_a_layer(known)
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
        if factor == 1:
            return self
        layers = []
        for layer in self.layers:
            if isinstance(layer, Deconv):
                raise UserError(f"a network with a decoder cannot be widened: layer {layer.name!r}")
            change = {}
            if isinstance(layer, Conv | Subsample) and layer.channels != "classes":
                change["channels"] = layer.channels * factor
            if isinstance(layer, Conv) and 1 < layer.groups == layer.channels:
                change["groups"] = layer.groups * factor
            layers.append(layer.model_copy(update=change))
        return self.model_copy(update={"layers": tuple(layers)})

    def without_head(self) -> "tuple[Layer, ...]":
        """Return the layers of a network without classes.

        What follows a linear head goes with it; what follows a convolution reads what that one read.
        """
        kept: list[Layer] = []
        instead: dict[str, str] = {}
        for layer in self.layers:
            if is_head(layer):
                if isinstance(layer, Linear):
                    break
                instead[layer.name] = layer.inputs[0]
            elif instead.keys() & set(layer.inputs):
                inputs = tuple(instead.get(name, name) for name in layer.inputs)
                kept.append(layer.model_copy(update={"inputs": inputs}))
            else:
                kept.append(layer)
        return tuple(kept)


def is_head(layer: Layer) -> bool:
    """Return whether the layer is as wide as there are classes."""
    return (isinstance(layer, Linear) and layer.features == "classes") or (
        isinstance(layer, Conv) and layer.channels == "classes"
    )


def require_scaling(mean: tuple[float, ...], std: tuple[float, ...], where: str) -> None:
    """Refuse a scaling of pixels in [0, 1] that gives no numbers of ordinary size.

    Raises:
        ValueError: If a mean is beyond 1e6, or a standard deviation not within 1e-6 and 1e6.
    """
    if not all(abs(value) <= _WIDEST for value in mean):
        raise UserError(f"mean {where} must be within {_WIDEST:g}, got {list(mean)}")
    if not all(1 / _WIDEST <= value <= _WIDEST for value in std):
        raise UserError(f"std {where} must be positive, from {1 / _WIDEST:g} to {_WIDEST:g}, got {list(std)}")


def _require_no_layer_within_a_layer(names: set[str]) -> None:
    for name in sorted(names):
        parts = name.split(".")
        for n_parts in range(1, len(parts)):
            outer = ".".join(parts[:n_parts])
            if outer in names:
                raise UserError(
                    f"layer name {name!r} is nested in the name of layer {outer!r}; rename one of them"
                )
