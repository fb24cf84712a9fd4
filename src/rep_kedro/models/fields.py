"""Receptive fields of the layers of any network, its border layer, and the image sizes that it can use."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rep_kedro.errors import UserError, suggest
from rep_kedro.kernels.layers.border import (
    BorderRule,
    FeasibleSizes,
    find_border_layer,
    find_feasible_sizes,
    is_unproductive,
    smallest_path,
)
from rep_kedro.kernels.layers.receptive_field import ReceptiveField
from rep_kedro.models.image_paths import LayerPass, follow_image
from rep_kedro.models.network import LayeredNetwork
from rep_kedro.models.survey import CALL_SEPARATOR

_FEASIBLE_COLUMNS = ("smallest_input_px", "lower_bound_input_px", "largest_input_px")


@dataclass(frozen=True)
class LayerField:
    """What one position of a layer sees.

    Attributes:
        rows: Along the rows of the image, that is, in height.
        columns: Along its columns, that is, in width.
        is_border: Whether it is the first of the layers at or behind the border.
        is_beyond_border: Whether it is at or behind the border: nothing local is added from there on.
        is_unproductive: Whether all that it reads sees the whole image along every path, or its map is no
            larger than its windows.
        is_critical: Whether it sees the whole image along every path, and is not unproductive.
    """

    rows: ReceptiveField
    columns: ReceptiveField
    is_border: bool
    is_beyond_border: bool
    is_unproductive: bool
    is_critical: bool


@dataclass(frozen=True)
class LayerFields:
    """The receptive fields of some layers.

    Attributes:
        known: By layer, in the requested order.
        unknown: Why, by layer whose receptive field is not known.
        feasible: Sides of images that the network can use; None where it reads no windows, or a layer is
            unknown.
    """

    known: dict[str, LayerField]
    unknown: dict[str, str]
    feasible: FeasibleSizes | None

    def row(self, layer: str) -> dict[str, int | bool | None]:
        """Return what is known of a layer by the columns of the table `receptive_fields`."""
        field = self.known[layer]
        sizes = (None,) * 3 if self.feasible is None else astuple(self.feasible)
        return {
            "receptive_field_px": field.columns.size_px,
            "jump_px": field.columns.jump_px,
            "is_border": field.is_border,
            "is_beyond_border": field.is_beyond_border,
            "largest_rows_px": field.rows.windows_px,
            "largest_columns_px": field.columns.windows_px,
            "smallest_rows_px": field.rows.smallest_path_px,
            "smallest_columns_px": field.columns.smallest_path_px,
            "jump_rows_px": field.rows.jump_px,
            "sees_whole_map": field.rows.sees_whole_map or field.columns.sees_whole_map,
            "is_unproductive": field.is_unproductive,
            "is_critical": field.is_critical,
            **dict(zip(_FEASIBLE_COLUMNS, sizes, strict=True)),
        }


def find_layer_fields(
    module: nn.Module,
    layers: Sequence[str] | None,
    input_px: int,
    *,
    rule: BorderRule = "input",
    run: Callable[[nn.Module, Tensor], object] | None = None,
    channels: int | None = None,
) -> LayerFields:
    """Return the receptive fields of layers; only shapes are followed, without any weight.

    Args:
        module: Any network; it is left as it is. Its weights may be on the meta device.
        layers: Names of submodules, with the call where one is called several times (``relu@2``); None: all
            submodules that a pass reaches.
        input_px: Side of the image.
        rule: How the border is found among the convolutions wider than one pixel.
        run: How the network is called, if not `module(x)`.
        channels: Of the image; None: those of the first convolution, or of the first linear layer if it reads
            all pixels.

    Raises:
        UserError: If the network cannot pass one image, branches on its values, or does not call a layer.
    """
    passes = {each.layer: each for each in follow_layers(module, input_px, run, channels)}
    fields = {name: each.field for name, each in passes.items() if each.field is not None}
    wide = [name for name in fields if _is_wide(passes[name].module)]
    order = list(passes)
    border = find_border_layer(fields, wide, input_px, rule=rule)
    first = len(order) if border is None else order.index(border)
    ends = {name: _end_of(name, order) for name in (order if layers is None else layers)}
    known = {name: end for name, end in ends.items() if end in fields}
    beyond = {name: order.index(end) >= first for name, end in known.items()}
    marked = next((name for name in known if beyond[name]), None)
    return LayerFields(
        {
            name: _describe(passes[end], fields[end], input_px, name == marked, beyond[name])
            for name, end in known.items()
        },
        {name: passes[end].reason for name, end in ends.items() if end not in fields},
        _find_feasible_sizes(list(passes.values()), fields),
    )


def follow_layers(
    module: nn.Module,
    input_px: int,
    run: Callable[[nn.Module, Tensor], object] | None = None,
    channels: int | None = None,
) -> list[LayerPass]:
    """Return one entry for each call of a layer, in the order in which the calls end.

    Args:
        module: Any network; it is left as it is.
        input_px: Side of the image.
        run: How the network is called, if not `module(x)`.
        channels: Of the image; see `find_layer_fields`.

    Raises:
        UserError: If the network cannot pass one image, or branches on its values.
    """
    n_channels, doubt = (channels, "") if channels else _count_channels(module, input_px)
    try:
        return _follow_anyhow(module, (1, n_channels, input_px, input_px), run)
    except _RefusalError as refused:
        cause = " ".join(str(refused.__cause__).split())[:200]
        raise UserError(
            f"{type(module).__name__} cannot pass one image of {input_px} px: {cause}{doubt}"
        ) from refused


class _RefusalError(Exception):
    """The network's own code cannot pass an image; its cause says why."""


def _follow_anyhow(
    module: nn.Module,
    shape: tuple[int, int, int, int],
    run: Callable[[nn.Module, Tensor], object] | None,
) -> list[LayerPass]:
    """Follow the network on the meta device, or with its own numbers where it needs them."""
    try:
        without_numbers = _copy_to_meta(module).eval()
        return _follow(without_numbers, torch.empty(shape, device="meta"), run)
    except UserError:
        raise
    except Exception as error:  # the network's own code, which may raise anything
        weights = [*module.parameters(), *module.buffers()]
        if any(weight.is_meta for weight in weights):
            raise _RefusalError from error
    modes = [(part, part.training) for part in module.modules()]
    like = next((weight for weight in weights if weight.is_floating_point()), torch.zeros(0))
    try:  # code that computes with numbers of its own needs real ones
        return _follow(module.eval(), like.new_zeros(shape), run)
    except UserError:
        raise
    except Exception as error:
        raise _RefusalError from error
    finally:
        for part, is_training in modes:
            part.training = is_training


def _count_channels(module: nn.Module, input_px: int) -> tuple[int, str]:
    """Return the channels of the image, and what a message adds where they are not sure.

    A pass that succeeds settles it: what is seen does not depend on their number.
    """
    if isinstance(module, LayeredNetwork):
        return module.architecture.input.channels, ""
    for name, part in module.named_modules():
        n_channels, rest = 0, 0
        if isinstance(part, nn.Conv2d):
            n_channels = part.in_channels
        elif isinstance(part, nn.Linear):
            n_channels, rest = divmod(part.in_features, input_px**2)
        if n_channels and not rest:
            where = f"as layer {name!r} has, which may not be the first"
            return n_channels, f" (the image was given {n_channels} channels, {where}: give channels)"
    return 3, " (the image was given 3 channels, as no layer says how many there are: give channels)"


def _follow(
    module: nn.Module, image: Tensor, run: Callable[[nn.Module, Tensor], object] | None
) -> list[LayerPass]:
    return follow_image(module, image, None if run is None else lambda x: run(module, x))


def _copy_to_meta(module: nn.Module) -> nn.Module:
    """Return the network without its weights on the meta device."""
    tensors = [*module.parameters(), *module.buffers()]
    without_numbers: dict[int, Any] = {
        id(tensor): nn.Parameter(tensor.detach().to("meta"), tensor.requires_grad)
        if isinstance(tensor, nn.Parameter)
        else tensor.to("meta")
        for tensor in tensors
    }
    return copy.deepcopy(module, without_numbers).float()


def _describe(
    layer: LayerPass,
    field: tuple[ReceptiveField, ReceptiveField],
    input_px: int,
    is_border: bool,
    is_beyond_border: bool,
) -> LayerField:
    unproductive = all(
        is_unproductive(
            layer.before_px[axis],
            smallest_path((field[axis],)),
            [step[axis] for step in layer.steps],
            input_px,
        )
        for axis in (0, 1)
    )
    return LayerField(
        *field,
        is_border=is_border,
        is_beyond_border=is_beyond_border,
        is_unproductive=unproductive,
        is_critical=smallest_path(field) > input_px and not unproductive,
    )


def _find_feasible_sizes(
    passes: Sequence[LayerPass], fields: Mapping[str, tuple[ReceptiveField, ReceptiveField]]
) -> FeasibleSizes | None:
    """Return the sides that the network can use along both axes."""
    outer = [each for each in passes if "." not in each.layer]  # each contains the windows of its parts
    steps = [step for each in outer for step in each.steps]
    found = [
        find_feasible_sizes([field[axis] for field in fields.values()], [step[axis] for step in steps])
        for axis in (0, 1)
    ]
    rows, columns = found
    if rows is None or columns is None or any(each.is_lost for each in passes):
        return None
    return FeasibleSizes(*(max(pair) for pair in zip(astuple(rows), astuple(columns), strict=True)))


def _is_wide(part: nn.Module) -> bool:
    return isinstance(part, nn.Conv2d) and max(part.kernel_size) > 1


def _end_of(layer: str, order: Sequence[str]) -> str:
    """Return the call that gives a layer's output.

    Raises:
        UserError: If a pass does not reach the layer.
    """
    base, _, call = layer.partition(CALL_SEPARATOR)
    end = base if call in {"", "1"} else layer
    if end not in order:
        raise UserError(f"cannot follow layer {layer!r}: unknown layer; {suggest(layer, order)}")
    return end
