"""The layers whose output is watched, and how much of it can be read at a given cost."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from rep_kedro.errors import UserError
from rep_kedro.kernels.layers.positions import Way, count_positions, count_sample_features
from rep_kedro.models.reading import evaluating
from rep_kedro.models.survey import CALL_SEPARATOR, survey_network

WATCHED = (nn.Conv2d, nn.Linear, nn.LSTM)
ENOUGH_POSITIONS = 4  # of each stimulus: with them saturations equal those of all positions
# What else takes time, in multiply-adds that take as much: reading and centring one number, and adding the
# products of a batch to the float64 sums, in rows of samples.
READING_A_NUMBER, ROWS_PER_SUM = 256, 128
STEP_PER_FORWARD = 3  # multiply-adds of a training step over those of its forward pass
_MAP_AXES = 4


@dataclass(frozen=True)
class WatchedLayer:
    """A layer and what it gives for one stimulus.

    Attributes:
        name: Of the module.
        shape: Of its output as `read_output` gives it, with a batch axis of one.
        n_multiply_adds: Of the layer, over all its calls.
    """

    name: str
    shape: tuple[int, ...]
    n_multiply_adds: int


@dataclass(frozen=True)
class Amount:
    """How much is read of a pass.

    Attributes:
        n_positions: Random positions of each stimulus; None for all.
        every: One of so many batches is read.
    """

    n_positions: int | None
    every: int = 1


def find_watched_layers(
    module: nn.Module, example: Tensor, run: Callable[[Tensor], object] | None = None
) -> tuple[WatchedLayer, ...]:
    """Return the convolutions, linear layers and LSTMs that a pass calls, in the order of their first call.

    Args:
        module: Any network; its mode is left as it is.
        example: One stimulus with a batch axis, as the network takes it.
        run: How it is called, if not `module(x)`.

    Raises:
        UserError: If there is none.
    """
    found: dict[str, WatchedLayer] = {}
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(part: nn.Module, _: object, output: object) -> None:
            shapes.setdefault(name, tuple(read_output(part, output).shape))

        return hook

    parts = {name: part for name, part in module.named_modules() if isinstance(part, WATCHED)}
    handles = [part.register_forward_hook(note(name)) for name, part in parts.items()]
    try:
        with evaluating(module):
            survey = survey_network(module, example, run)
    finally:
        for handle in handles:
            handle.remove()
    for call in survey.calls:
        name = call.layer.partition(CALL_SEPARATOR)[0]
        if name in shapes:
            before = found[name].n_multiply_adds if name in found else 0
            n_multiply_adds = before + _count_multiply_adds(call.module, shapes[name])
            found[name] = WatchedLayer(name, shapes[name], n_multiply_adds)
    if not found:
        raise UserError(
            "the network calls no convolution, linear layer or LSTM whose output could be watched"
        )
    return tuple(found.values())


def read_output(part: nn.Module, output: Any) -> Tensor:
    """Return the output of a watched layer as a map (n, channels, height, width), sequence or features.

    Linear layers of more than two axes have their features last; LSTMs give all time steps.
    """
    if isinstance(part, nn.LSTM):
        steps: Tensor = output[0]
        return steps if part.batch_first or steps.ndim == 2 else steps.transpose(0, 1)
    values: Tensor = output
    return values.flatten(1, -2) if isinstance(part, nn.Linear) and values.ndim == _MAP_AXES else values


def choose_amount(
    layers: Sequence[WatchedLayer],
    way: Way,
    *,
    share: float,
    n_batches: int,
    batch_size: int,
    is_step: bool,
) -> Amount:
    """Return as many positions and batches as keep the extra multiply-adds below a share of a pass.

    Four positions of every batch, or twice as many, and so on, while the share allows it; else four positions
    of some batches, at least one. Ways that pool read all positions: only samples are multiplied.

    Args:
        layers: What is watched.
        way: From positions to samples.
        share: Of the multiply-adds of a pass.
        n_batches: Of a pass over the data.
        batch_size: Stimuli of a batch.
        is_step: Whether the pass is a step of training, with gradients, and not a forward pass alone.
    """
    budget = share * sum(layer.n_multiply_adds for layer in layers) * (STEP_PER_FORWARD if is_step else 1)

    def cost(n_positions: int | None) -> float:
        return sum(_cost_of(layer, way, n_positions, batch_size) for layer in layers)

    most = max(count_positions(layer.shape) for layer in layers)
    n_positions: int | None = None
    if way == "channelwise":
        n_positions = ENOUGH_POSITIONS
        while n_positions < most and cost(2 * n_positions) <= budget:
            n_positions *= 2
        if n_positions >= most:
            n_positions = None
    every = max(1, math.ceil(cost(n_positions) / budget)) if budget else 1
    return Amount(n_positions, min(every, max(1, n_batches)))


def _cost_of(layer: WatchedLayer, way: Way, n_positions: int | None, batch_size: int) -> float:
    """Return the multiply-adds for one stimulus of a batch that is read, other work counted as such."""
    available = count_positions(layer.shape)
    read = available if n_positions is None else min(n_positions, available)
    width = count_sample_features(layer.shape, way, read)
    rows = read if way == "channelwise" else 1
    return width * (width * (rows + ROWS_PER_SUM / max(1, batch_size)) + READING_A_NUMBER * read)


def _count_multiply_adds(part: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the multiply-adds of one call for one stimulus."""
    if isinstance(part, nn.LSTM):
        weights = sum(weight.numel() for weight in part.parameters() if weight.ndim > 1)
        return weights * count_positions(shape)
    weight = part.weight
    if not isinstance(weight, Tensor):  # isinstance(part, WATCHED) leaves convolutions and linear layers
        raise TypeError(f"{type(part).__name__} has no weight")
    return math.prod(shape[1:]) * (weight.numel() // len(weight))


def bytes_of_sums(layers: Sequence[WatchedLayer], way: Way, n_positions: int | None) -> dict[str, int]:
    """Return the bytes of the sums of each layer: 8 for each pair of features, and 4 while they are made."""
    found = {}
    for layer in layers:
        available = count_positions(layer.shape)
        read = available if n_positions is None else min(n_positions, available)
        found[layer.name] = 12 * count_sample_features(layer.shape, way, read) ** 2
    return found
