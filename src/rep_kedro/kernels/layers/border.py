"""From receptive fields to the layers that can add nothing, and to the image sizes that a network can use."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import Literal

from rep_kedro.kernels.layers.receptive_field import ReceptiveField

BorderRule = Literal["input", "smallest_path"]
BORDER_RULES: tuple[BorderRule, ...] = ("input", "smallest_path")
BothAxes = Sequence[ReceptiveField]


@dataclass(frozen=True)
class WindowStep:
    """One reading of windows, along one axis.

    Attributes:
        kernel: Positions that a window spans.
        map_size: Positions of what it reads.
        jump_px: Pixels between these positions.
        before_px: Smallest receptive field of what it reads; infinite if every path reads a whole map.
        after_px: The same of what it gives.
    """

    kernel: int
    map_size: int
    jump_px: float
    before_px: float
    after_px: float


@dataclass(frozen=True)
class FeasibleSizes:
    """Sides of images that a network can use.

    Attributes:
        smallest_px: The largest of the smallest receptive fields, and of the windows in pixels: below it,
            part of the growth of the receptive field is of no use.
        lower_bound_px: The largest of the smallest receptive fields that a window wider than one position
            reads: below it, a layer is unproductive.
        largest_px: The largest receptive field through windows: above it, no position sees the whole image.
    """

    smallest_px: int
    lower_bound_px: int
    largest_px: int


def find_border_layer(
    fields: Mapping[str, BothAxes], layers: Sequence[str], input_px: int, *, rule: BorderRule = "input"
) -> str | None:
    """Return the first layer that cannot add anything local, or None if there is none.

    Args:
        fields: By layer, along both axes.
        layers: The layers that count, in depth order: usually the convolutions wider than one pixel.
        input_px: Side of the image.
        rule: `input`: the first layer behind the first one whose own receptive field exceeds the image,
            that is, the first that is fed by positions that see all. `smallest_path`: the first layer from
            which on the smallest receptive field exceeds the image, for networks with skip connections.
            Paths that read a whole map, such as gates, do not count.

    Raises:
        ValueError: If the rule or a layer is unknown.

    Source:
        Richter et al. 2021, arXiv:2106.12307, section 3.
    """
    if rule not in BORDER_RULES:
        raise ValueError(f"unknown border rule {rule!r}; known: {', '.join(BORDER_RULES)}")
    unknown = [layer for layer in layers if layer not in fields]
    if unknown:
        raise ValueError(f"no receptive field for layer {unknown[0]!r}; known: {', '.join(fields)}")
    if rule == "input":
        seeing_all = [i for i, layer in enumerate(layers) if _largest(fields[layer]) > input_px]
        index = seeing_all[0] + 1 if seeing_all else len(layers)
    else:
        seeing_part = [i for i, layer in enumerate(layers) if smallest_path(fields[layer]) <= input_px]
        index = seeing_part[-1] + 1 if seeing_part else 0
    return layers[index] if index < len(layers) else None


def _largest(field: BothAxes) -> float:
    return min(inf if axis.windows_px is None else axis.windows_px for axis in field)


def smallest_path(field: BothAxes) -> float:
    """Return the smallest field along the axis on which it is smaller; infinite if there is none."""
    return min(inf if axis.smallest_path_px is None else axis.smallest_path_px for axis in field)


def is_unproductive(before_px: float, after_px: float, steps: Sequence[WindowStep], input_px: int) -> bool:
    """Return whether a layer adds nothing: all that it reads sees the image already, or its map is too small.

    Args:
        before_px: Smallest receptive field of what the layer reads.
        after_px: Of what it gives.
        steps: The windows that it reads, along one axis; none for a layer that works point by point.
        input_px: Side of the image.

    Source:
        Test of rfa_toolbox 1.7, https://github.com/MLRichter/receptive_field_analysis_toolbox.
    """
    if not steps:
        return before_px >= input_px and after_px > input_px
    return all(
        (step.before_px >= input_px and step.after_px > input_px) or step.map_size <= step.kernel
        for step in steps
    )


def find_feasible_sizes(
    fields: Iterable[ReceptiveField], steps: Sequence[WindowStep]
) -> FeasibleSizes | None:
    """Return the sides that a network can use along one axis; None if it reads no windows.

    Args:
        fields: Of all layers.
        steps: All readings of windows.

    Source:
        `input_resolution_range` of rfa_toolbox 1.7; paths that read a whole map do not count.
    """
    known = [field for field in fields if field.windows_px is not None]
    if not known or not steps:
        return None
    windows = [ceil(step.kernel * step.jump_px) for step in steps]
    read = [int(step.before_px) for step in steps if step.kernel > 1 and step.before_px < inf]
    return FeasibleSizes(
        smallest_px=max(*windows, *(field.smallest_path_px or 0 for field in known)),
        lower_bound_px=max(read, default=1),
        largest_px=max(field.windows_px or 0 for field in known),
    )
