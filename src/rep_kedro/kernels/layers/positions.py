"""Which positions of a layer's output are read, and how they become samples.

Positions are chosen first (all, random ones, or a regular grid), then read: every position a sample of the
channels, one pooled value of each channel, or the whole map as one sample.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from rep_kedro.kernels.layers.streaming import flatten_positions

Way = Literal["channelwise", "mean", "max", "median", "flatten"]
WAYS: tuple[Way, ...] = get_args(Way)
_MAP, _SEQUENCE = 4, 3  # axes of (n, channels, height, width) and of (n, tokens, channels)


def count_positions(shape: tuple[int, ...]) -> int:
    """Return the positions of one stimulus in an output: pixels of a map, tokens of a sequence, or one.

    Args:
        shape: (n, channels, height, width), (n, tokens, channels) or (n, channels).

    Raises:
        ValueError: If there is another number of axes.
    """
    match shape:
        case (_, _):
            return 1
        case (_, tokens, _):
            return tokens
        case (_, _, height, width):
            return height * width
    raise ValueError(f"an output must have 2, 3 or 4 axes, got shape {tuple(shape)}")


def pick_random_positions(activation: Tensor, n_positions: int, generator: torch.Generator) -> Tensor:
    """Return randomly drawn positions of each stimulus, as a sequence.

    One set of different positions is drawn and moved on by a random number of places for each stimulus, in
    reading order and around the end. So a stimulus never has a position twice, every position is drawn
    equally often, and the stimuli of a batch do not share theirs.

    Args:
        activation: Shape (n, channels, height, width), (n, tokens, channels) or (n, channels).
        n_positions: How many; where there are no more, all are returned in their order and nothing is drawn.
        generator: Random stream on the CPU.

    Returns:
        Shape (n, n_positions, channels), or the activation itself where nothing is drawn.

    Raises:
        ValueError: If ``n_positions`` is below 1 or the activation has another number of axes.
    """
    available = count_positions(tuple(activation.shape))
    if n_positions < 1:
        raise ValueError(f"at least 1 position must be read, got {n_positions}")
    if n_positions >= available:
        return activation
    pattern = torch.randperm(available, generator=generator)[:n_positions]
    moves = torch.randint(available, (len(activation), 1), generator=generator)
    places = ((pattern + moves) % available).to(activation.device)
    stimuli = torch.arange(len(activation), device=activation.device)[:, None]
    if activation.ndim == _SEQUENCE:
        return activation[stimuli, places]
    return activation.flatten(2).transpose(1, 2)[stimuli, places]


def pick_nearest_positions(activation: Tensor, side: int) -> Tensor:
    """Return a regular grid of positions: rows floor(i * height / side), and columns in the same way.

    A map that has fewer rows or columns keeps all of them; no position is ever repeated. With ``side`` 1 the
    upper left position alone is left, as in the published saturations of that setting.

    Args:
        activation: Shape (n, channels, height, width), or (n, tokens, channels), of which tokens
            floor(i * tokens / side) are kept; (n, channels) has one position.
        side: Positions along each axis, at least 1.

    Returns:
        Shape (n, channels, min(height, side), min(width, side)), or (n, min(tokens, side), channels).

    Raises:
        ValueError: If ``side`` is below 1 or the activation has another number of axes.

    Source:
        torch.nn.functional.interpolate, mode nearest, which delve 0.1.50 uses (interpolation_strategy).

    Example:
        >>> pick_nearest_positions(torch.arange(64.0).reshape(1, 1, 8, 8), 4)[0, 0, 0].tolist()
        [0.0, 2.0, 4.0, 6.0]
    """
    if side < 1:
        raise ValueError(f"at least 1 position must be read along each axis, got {side}")
    count_positions(tuple(activation.shape))
    axes = {_MAP: (2, 3), _SEQUENCE: (1,)}.get(activation.ndim, ())
    for axis in axes:
        size = activation.shape[axis]
        if size > side:
            places = torch.arange(side, device=activation.device) * size // side
            activation = activation.index_select(axis, places)
    return activation


def read_samples(activation: Tensor, way: Way) -> Tensor:
    """Return an output as rows of samples.

    Args:
        activation: Shape (n, channels, height, width), (n, tokens, channels) or (n, channels).
        way: ``channelwise``: each position is a sample of the channels; ``mean``, ``max``, ``median`` (the
            lower of two) over positions: each stimulus is a sample of the channels; ``flatten``: each
            stimulus is a sample of all numbers, channel by channel.

    Returns:
        Shape (n * positions, channels) for ``channelwise``, (n, channels * positions) for ``flatten``, else
        (n, channels).

    Raises:
        ValueError: If the way is unknown or the activation has another number of axes.

    Source:
        Richter et al. 2021, arXiv:2006.08679, section 3; the ways are delve 0.1.50's ``conv_method``.
    """
    n_positions = count_positions(tuple(activation.shape))
    if way == "channelwise":
        return flatten_positions(activation)
    if way not in WAYS:
        raise ValueError(f"unknown way {way!r} to read an output; known: {', '.join(WAYS)}")
    if n_positions == 1:
        return activation.flatten(1)
    values = activation.transpose(1, 2) if activation.ndim == _SEQUENCE else activation.flatten(2)
    match way:
        case "flatten":
            return values.flatten(1)
        case "mean":
            return values.mean(dim=2)
        case "max":
            return values.amax(dim=2)
        case _:
            return values.median(dim=2).values


def count_sample_features(shape: tuple[int, ...], way: Way, n_positions: int) -> int:
    """Return the width of a sample, from the shape of the output alone.

    Args:
        shape: As `count_positions` takes it.
        way: As `read_samples` takes it.
        n_positions: Positions that are read.
    """
    count_positions(shape)
    n_channels = shape[2] if len(shape) == _SEQUENCE else shape[1]
    return n_channels * n_positions if way == "flatten" else n_channels
