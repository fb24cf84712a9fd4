"""From activations to features: one row of numbers per stimulus, for any layout of the layer."""

from typing import get_args

import torch
from torch import Tensor

from rep_kedro.errors import UserError
from rep_kedro.kernels.precision import accumulation_dtype
from rep_kedro.models.activation_form import TOKEN_POOLINGS, Form
from rep_kedro.models.pooling_names import Pooling

POOLINGS: tuple[str, ...] = get_args(Pooling)


def pool_activation(activation: Tensor, pooling: Pooling, form: Form) -> Tensor:
    """Return the features of one layer.

    Args:
        activation: Layer output of two to four axes.
        pooling: `average` over positions or over all tokens; `flatten` everything (channel by channel for
            maps, token by token for tokens); `cls` the class token; `patch_average` over the tokens behind
            the prefix; `cls_and_patch_average` both, side by side.
        form: Where stimuli, channels and tokens are.

    Returns:
        Features, float32, (n_stimuli, n_features). Two-dimensional outputs pass unchanged.

    Raises:
        ValueError: If the pooling is unknown or asks for tokens that the layer does not have.
    """
    if pooling not in POOLINGS:
        raise UserError(f"unknown pooling {pooling!r}; known: {', '.join(POOLINGS)}")
    if form.kind == "vector":
        return activation.float()
    if form.kind == "map":
        return _pool_map(activation.movedim(form.channel_axis, 1), pooling)
    return _pool_tokens(activation.movedim((form.stimulus_axis, form.channel_axis), (0, 2)), pooling, form)


def _pool_map(maps: Tensor, pooling: Pooling) -> Tensor:
    if pooling == "average":
        return _average(maps, (2, 3))
    if pooling == "flatten":
        return maps.flatten(1).float()
    raise UserError(
        f"pooling {pooling!r} needs tokens, got a map of shape {tuple(maps.shape)}; use average or flatten"
    )


def _pool_tokens(tokens: Tensor, pooling: Pooling, form: Form) -> Tensor:
    if pooling == "flatten":
        return tokens.flatten(1).float()
    if pooling == "average":
        return _average(tokens, (1,))
    n_prefix, n_tokens = _require_prefix(form, pooling, tokens.shape[1]), tokens.shape[1]
    if pooling != "patch_average" and not form.has_class_token:
        there = (
            f"the {n_prefix} tokens before its patches are registers" if n_prefix else "this layer has none"
        )
        raise UserError(f"pooling {pooling!r} needs a class token, and {there}; use average or patch_average")
    if n_tokens <= n_prefix and pooling != "cls":
        raise UserError(
            f"pooling {pooling!r} needs patches, and the layer gives only the {n_tokens} tokens before them"
        )
    first = tokens[:, 0].float()
    if pooling == "cls":
        return first
    patches = _average(tokens[:, n_prefix:], (1,))
    return patches if pooling == "patch_average" else torch.cat([first, patches], dim=1)


def _require_prefix(form: Form, pooling: Pooling, n_tokens: int) -> int:
    assert pooling in TOKEN_POOLINGS  # noqa: S101 - all others were served
    if form.n_prefix_tokens is None:
        raise UserError(
            f"pooling {pooling!r} needs to know which of the {n_tokens} tokens are patches, and no grid of"
            " patches fits them; set n_prefix_tokens, or use average"
        )
    return form.n_prefix_tokens


def _average(values: Tensor, axes: tuple[int, ...]) -> Tensor:
    return values.mean(dim=axes, dtype=accumulation_dtype(values.device)).float()
