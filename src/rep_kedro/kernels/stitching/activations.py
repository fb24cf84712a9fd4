"""Activations as samples of channels, position by position, and back; other spatial sizes."""

import torch
from torch import Tensor


def to_positions(activation: Tensor, *, flatten: bool = False) -> Tensor:
    """Return an activation with its channels last.

    Args:
        activation: Shape (n, channels, height, width), (n, tokens, channels) or (n, channels).
        flatten: Take every value of a stimulus as a channel of one position ("pixel to pixel").

    Returns:
        Shape (n, n_positions, n_channels), positions in reading order; contiguous.

    Raises:
        ValueError: If the activation has another number of axes.
    """
    if activation.ndim not in (2, 3, 4):
        raise ValueError(
            "an activation must have 2 axes (features), 3 (tokens) or 4 (maps), "
            f"got shape {tuple(activation.shape)}"
        )
    if flatten or activation.ndim == 2:
        return activation.flatten(1)[:, None]
    if activation.ndim == 4:
        return activation.flatten(2).transpose(1, 2).contiguous()
    return activation.contiguous()


def from_positions(samples: Tensor, shape: tuple[int, ...], *, flatten: bool = False) -> Tensor:
    """Return samples in the shape in which a network takes them; the inverse of `to_positions`.

    Args:
        samples: Shape (n, n_positions, n_channels).
        shape: Of one stimulus: (channels, height, width), (tokens, channels) or (channels,).
        flatten: As in `to_positions`.

    Returns:
        Shape (n, *shape); a view, of maps with channels last in memory.
    """
    if flatten or len(shape) != 3:
        return samples.reshape(len(samples), *shape)
    return samples.reshape(len(samples), *shape[1:], shape[0]).permute(0, 3, 1, 2)


def match_positions(activation: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return an activation with the positions that another layer has, its channels unchanged.

    Maps of another height or width are interpolated bilinearly (corners not aligned, no antialiasing). A map
    of channels at every position commutes with it.

    Args:
        activation: Shape (n, *own shape), own shape as below.
        shape: Of the other layer for one stimulus: (channels, height, width), (tokens, channels) or
            (channels,).

    Returns:
        The activation itself where its positions are the same; else (n, channels, height, width).

    Raises:
        ValueError: If the layers are not of one kind, or have other numbers of tokens.
    """
    own = tuple(activation.shape[1:])
    if len(own) != len(shape):
        raise ValueError(
            f"a map, tokens and plain features have no positions in common, got shapes {own} and {shape};"
            " flatten: true joins them"
        )
    if len(own) == 3 and own[1:] != shape[1:]:
        size = list(shape[1:])
        return torch.nn.functional.interpolate(activation, size=size, mode="bilinear", align_corners=False)
    if len(own) == 2 and own[0] != shape[0]:
        raise ValueError(f"layers of tokens must have equally many, got {own[0]} and {shape[0]}")
    return activation
