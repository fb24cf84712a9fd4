"""The axes of stimuli, channels and tokens in a layer's output, from its shape and other evidence.

Libraries disagree, and so do layers of one network: maps have their channels first or last, tokens come
before or behind the stimuli, class tokens join late. Nothing here is assumed for a whole network: each layer
is read by its own shape, and where that leaves two readings more evidence is asked for, or the layer refused.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import nn

from rep_kedro.errors import UserError
from rep_kedro.models.pooling_names import Layout, Pooling

TOKEN_POOLINGS = frozenset({"cls", "patch_average", "cls_and_patch_average"})
_CHANNELS_FIRST = (
    *(nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
)
_CHANNELS_LAST = (nn.Linear, nn.LayerNorm)
_SAID: dict[Layout, int] = {"nchw": 1, "nhwc": 3}
_CLASS_TOKENS = ("cls_token", "class_token", "class_embedding")
_OTHER_TOKENS = ("dist_token", "reg_token", "distillation_token", "register_tokens")
_INNER = ("visual", "vision_model", "trunk", "base_model")  # where libraries keep the image side


class Form(NamedTuple):
    """How one layer's output is read.

    Attributes:
        kind: One number per channel, tokens, or a map of positions.
        stimulus_axis: Axis of the stimuli.
        channel_axis: Axis of the channels.
        n_prefix_tokens: Tokens before the patches; None if it is not known.
        has_class_token: Whether the first of them is a class token.
    """

    kind: Literal["vector", "tokens", "map"]
    stimulus_axis: int = 0
    channel_axis: int = 1
    n_prefix_tokens: int | None = 0
    has_class_token: bool = False


class Prefix(NamedTuple):
    """The tokens that a network sets before its patches, where it has them."""

    n_tokens: int
    has_class_token: bool


@dataclass(frozen=True)
class Evidence:
    """Evidence about a layer in addition to its shape.

    Attributes:
        image_px: Height and width of the stimulus.
        grids: Sizes of the maps that the pass showed before this layer.
        prefix: What the network sets before its patches.
        part: The layer itself.
        larger_shape: Gives the layer's shape for a larger stimulus, or None if the network takes no other.
    """

    image_px: tuple[int, int] | None
    grids: frozenset[tuple[int, int]]
    prefix: Prefix
    part: nn.Module
    larger_shape: Callable[[], tuple[int, ...] | None]


def find_form(
    shape: Sequence[int],
    evidence: Evidence,
    *,
    pooling: Pooling,
    layout: Layout = "auto",
    n_prefix_tokens: int | None = None,
) -> Form:
    """Return how a layer's output is read.

    Args:
        shape: Of the output for one stimulus, with the batch axis.
        evidence: What else is known.
        pooling: What the output is wanted for; only some poolings depend on the prefix.
        layout: Where channels or tokens are, as set in an entry.
        n_prefix_tokens: Tokens before the patches, as set in an entry.

    Raises:
        ValueError: If the shape leaves several readings open, or contradicts what the entry says.
    """
    if len(shape) == 4:
        return Form("map", 0, _channel_axis(shape, evidence, layout))
    if len(shape) == 3:
        stimulus_axis, channel_axis = _token_axes(shape, evidence, layout)
        form = Form("tokens", stimulus_axis, channel_axis)
        if pooling not in TOKEN_POOLINGS:
            return form
        return _with_prefix(form, shape[3 - stimulus_axis - channel_axis], evidence, n_prefix_tokens)
    if len(shape) == 2:
        return Form("vector")
    raise UserError(f"cannot pool an output of shape {tuple(shape)}; it must have two to four axes")


def find_prefix(module: nn.Module) -> Prefix:
    """Return what a network sets before its patches: class token, distillation token, registers.

    timm says so itself; of other networks the parameters are looked at.
    """
    tower = module
    for inner in _INNER:
        tower = getattr(tower, inner, tower)
    learnt = {
        name.rpartition(".")[2]: value for name, value in tower.named_parameters() if name.count(".") < 2
    }
    sizes = {name: value.numel() // value.shape[-1] for name, value in learnt.items() if value.ndim}
    # Networks with several branches have one class token for each; a layer has that of its branch.
    n_class = max((size for name, size in sizes.items() if name.startswith(_CLASS_TOKENS)), default=0)
    stated = getattr(tower, "num_prefix_tokens", None)
    n_tokens = (
        stated if isinstance(stated, int) else n_class + sum(sizes.get(name, 0) for name in _OTHER_TOKENS)
    )
    return Prefix(n_tokens, bool(n_class) and n_tokens > 0)


def _channel_axis(shape: Sequence[int], evidence: Evidence, layout: Layout) -> int:
    first, last = is_grid(shape[2:], evidence.image_px), is_grid(shape[1:3], evidence.image_px)
    found = _ask_further(shape, evidence) if first == last else 1 if first else 3
    said = _SAID.get(layout, found)
    if said is None:
        raise UserError(
            f"an output of shape {tuple(shape)} does not show its channel axis; set layout: nchw or nhwc"
        )
    if found not in {None, said}:
        there = "first" if found == 1 else "last"
        raise UserError(
            f"an output of shape {tuple(shape)} has its channels {there}, but the entry sets layout:"
            f" {layout}; remove layout: it is detected for each layer"
        )
    return said


def is_grid(sides: Sequence[int], image_px: tuple[int, int] | None) -> bool:
    """Return whether two sides may be those of a map: they have the proportions of the image."""
    height, width = image_px or (1, 1)
    if height == width:
        return sides[0] == sides[1]
    return abs(sides[0] - sides[1] * height / width) <= 1


def _ask_further(shape: Sequence[int], evidence: Evidence) -> int | None:
    """Return the axis of the channels from the kind of the layer, or from a larger stimulus."""
    if isinstance(evidence.part, _CHANNELS_FIRST):
        return 1
    if isinstance(evidence.part, _CHANNELS_LAST) and is_grid(shape[1:3], evidence.image_px):
        return 3
    larger = evidence.larger_shape()
    if larger is None or len(larger) != len(shape):
        return None
    kept = [axis for axis in (1, 2, 3) if larger[axis] == shape[axis]]
    return kept[0] if kept in ([1], [3]) else None


def _token_axes(shape: Sequence[int], evidence: Evidence, layout: Layout) -> tuple[int, int]:
    """Return the axes of stimuli and channels of a three-dimensional output."""
    if 1 not in shape[:2]:
        raise UserError(f"an output of shape {tuple(shape)} for one stimulus has no stimulus axis")
    stimulus_axis = 0 if shape[0] == 1 else 1
    if shape[0] != shape[1] and layout in {"tokens", "tokens_first"}:
        said = int(layout == "tokens_first")
        if said != stimulus_axis:
            raise UserError(
                f"an output of shape {tuple(shape)} for one stimulus contradicts layout: {layout};"
                " remove layout: it is detected for each layer"
            )
    if layout == "auto" and stimulus_axis == 0:
        is_grid = [_prefix_by_grids(shape[axis], evidence) is not None for axis in (1, 2)]
        if is_grid == [False, True] and _prefix_by_squares(shape[1], evidence) is None:
            return 0, 1
    return stimulus_axis, 2


def _with_prefix(form: Form, n_tokens: int, evidence: Evidence, stated: int | None) -> Form:
    """Return the form with its tokens before the patches.

    Raises:
        ValueError: If the entry states another number than the grid of patches leaves.
    """
    if n_tokens == 1:  # one token alone: the class token where there is one
        n_prefix = min(1, evidence.prefix.n_tokens) if stated is None else stated
        is_class = evidence.prefix.has_class_token if stated is None else stated > 0
        return form._replace(n_prefix_tokens=n_prefix, has_class_token=is_class)
    found = _prefix_by_grids(n_tokens, evidence)
    if found is None:
        found = _prefix_by_squares(n_tokens, evidence)
    if found is None and n_tokens == evidence.prefix.n_tokens:
        found = n_tokens
    if stated is None or stated == found:
        has_class = bool(found) and (evidence.prefix.has_class_token or evidence.prefix.n_tokens == 0)
        return form._replace(n_prefix_tokens=found, has_class_token=has_class)
    if found is not None and not _may_be_grid(n_tokens - stated, evidence):
        raise UserError(
            f"its {n_tokens} tokens are {found} prefix tokens and {n_tokens - found} patches, but the entry"
            f" sets n_prefix_tokens: {stated}; remove it: it is detected for each layer"
        )
    is_class = evidence.prefix.has_class_token or evidence.prefix.n_tokens == 0
    return form._replace(n_prefix_tokens=stated, has_class_token=stated > 0 and is_class)


def _prefix_by_grids(n_tokens: int, evidence: Evidence) -> int | None:
    """Return the number of tokens before the patches if the pass showed the map that the patches are of."""
    sizes = {height * width for height, width in evidence.grids}
    fitting = {prefix for prefix in {0, evidence.prefix.n_tokens} if n_tokens - prefix in sizes}
    return fitting.pop() if len(fitting) == 1 else None


def _prefix_by_squares(n_tokens: int, evidence: Evidence) -> int | None:
    """Return the number of tokens before the patches if the patches of a square image are a square."""
    fitting = {prefix for prefix in {0, evidence.prefix.n_tokens} if _is_square(n_tokens - prefix, evidence)}
    return fitting.pop() if len(fitting) == 1 else None


def _may_be_grid(n_patches: int, evidence: Evidence) -> bool:
    is_shown = any(height * width == n_patches for height, width in evidence.grids)
    return is_shown or _is_square(n_patches, evidence)


def _is_square(number: int, evidence: Evidence) -> bool:
    is_square_image = evidence.image_px is not None and evidence.image_px[0] == evidence.image_px[1]
    return is_square_image and number > 0 and math.isqrt(number) ** 2 == number
