"""From activations to features: one row of numbers per stimulus, whatever the layer's layout."""

from typing import get_args

import torch
from torch import Tensor

from rep_kedro.errors import UserError
from rep_kedro.models.pooling_names import Layout, Pooling

POOLINGS: tuple[str, ...] = get_args(Pooling)


def pool_activation(
    activation: Tensor, pooling: Pooling, *, layout: Layout = "auto", n_prefix_tokens: int = 1
) -> Tensor:
    """Return the features of one layer.

    Args:
        activation: Layer output, (n, c), (n, c, h, w), (n, h, w, c), (n, tokens, d) or (tokens, n, d).
        pooling: `average` over positions or over all tokens; `flatten` everything (channel by channel for
            maps); `cls` the first token; `patch_average` over the tokens behind the prefix;
            `cls_and_patch_average` both, side by side.
        layout: Where the channels of four-dimensional and the stimuli of three-dimensional outputs are;
            `auto` reads (n, c, h, w) and (n, tokens, d).
        n_prefix_tokens: Tokens before the patches: class token and registers.

    Returns:
        Features, float32, (n_stimuli, n_features). Two-dimensional outputs pass unchanged.

    Raises:
        ValueError: If the output has other than two to four axes, or has no tokens where tokens are asked
            for.
    """
    if pooling not in POOLINGS:
        raise UserError(f"unknown pooling {pooling!r}; known: {', '.join(POOLINGS)}")
    if activation.ndim == 2:
        return activation.float()
    if activation.ndim == 4:
        return _pool_map(activation.movedim(-1, 1) if layout == "nhwc" else activation, pooling)
    if activation.ndim == 3:
        tokens = activation.transpose(0, 1) if layout == "tokens_first" else activation
        return _pool_tokens(tokens, pooling, n_prefix_tokens)
    raise UserError(
        f"cannot pool an output of shape {tuple(activation.shape)}; it must have two to four axes"
    )


def _pool_map(maps: Tensor, pooling: Pooling) -> Tensor:
    if pooling == "average":
        return maps.mean(dim=(2, 3), dtype=torch.float64).float()
    if pooling == "flatten":
        return maps.flatten(1).float()
    raise UserError(
        f"pooling {pooling!r} needs tokens, got a map of shape {tuple(maps.shape)}; use average or flatten"
    )


def _pool_tokens(tokens: Tensor, pooling: Pooling, n_prefix_tokens: int) -> Tensor:
    if pooling == "flatten":
        return tokens.flatten(1).float()
    if pooling == "average":
        return tokens.mean(dim=1, dtype=torch.float64).float()
    if pooling in {"cls", "cls_and_patch_average"} and n_prefix_tokens == 0:
        raise UserError(f"pooling {pooling!r} needs a class token, and this model has none; use average")
    if tokens.shape[1] <= n_prefix_tokens and pooling != "cls":
        raise UserError(
            f"pooling {pooling!r} needs tokens behind the prefix of {n_prefix_tokens}, got {tokens.shape[1]}"
        )
    first = tokens[:, 0].float()
    if pooling == "cls":
        return first
    patches = tokens[:, n_prefix_tokens:].mean(dim=1, dtype=torch.float64).float()
    return patches if pooling == "patch_average" else torch.cat([first, patches], dim=1)
