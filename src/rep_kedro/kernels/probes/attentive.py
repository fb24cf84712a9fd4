"""Attentive probes: learned queries weigh the tokens of a sample, a linear classifier reads the averages.

With standardised tokens x_i (one for each position of a map), d features and the query q_h of head h

    a_hi = softmax over i of x_i . q_h / sqrt(d),  z_h = sum over i of a_hi x_i,  logits = [z_1 .. z_H] W + b.

A query of zero averages the tokens, so that the linear probe of averaged features is among these probes. All
settings of learning rate and decay share each batch.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rep_kedro.kernels.probes.adamw import INITIAL_SPREAD, AdamWSettings
from rep_kedro.kernels.probes.descent import Part, descend
from rep_kedro.kernels.probes.probe import Standardisation, require_labels

SPREAD_OF_QUERIES = 0.02  # standard deviation of the first ones, as of the published probes
BLOCK_BYTES = 1 << 24  # of tokens that are float64 at the same time


class AttentiveWeights(NamedTuple):
    """Weights of one probe for each setting.

    Attributes:
        queries: Shape (n_settings, n_heads, n_features).
        output: Shape (n_settings, n_heads * n_features + 1, n_classes); the last row is the bias.
    """

    queries: Tensor
    output: Tensor


def fit_token_standardisation(x: Tensor) -> Standardisation:
    """Return what brings each feature to mean 0 and deviation 1 over all tokens of all samples.

    Args:
        x: Tokens, (n_samples, n_tokens, n_features), of any float type; blocks of them become float64.

    Raises:
        ValueError: If the shape is another, a size is zero, or a value is not finite.
    """
    _require_tokens(x)
    rows = max(1, BLOCK_BYTES // (8 * x.shape[1] * x.shape[2]))
    n_tokens = x.shape[0] * x.shape[1]
    mean = sum(block.double().sum(dim=(0, 1)) for block in torch.split(x, rows)) / n_tokens
    if not isinstance(mean, Tensor) or not bool(mean.isfinite().all()):
        raise ValueError("tokens to standardise must be finite, got NaN or infinity")
    squares = sum((block.double() - mean).square().sum(dim=(0, 1)) for block in torch.split(x, rows))
    return Standardisation.of_spread(mean, (torch.as_tensor(squares) / n_tokens).sqrt(), x.dtype)


def fit_probes_attentive(
    x: Tensor,
    labels: Tensor,
    *,
    n_classes: int,
    n_heads: int,
    standard: Standardisation,
    settings: AdamWSettings,
    class_weights: Tensor | None = None,
) -> AttentiveWeights:
    """Train an attentive probe for each setting.

    The order of the tokens has no effect. Equal seeds give equal first weights and batches.

    Args:
        x: Tokens as they are, (n_samples, n_tokens, n_features); float16 is converted batch by batch.
        labels: Class indices, (n_samples,), or which classes each sample has, (n_samples, n_classes).
        n_classes: Number of classes, at least 2.
        n_heads: Queries.
        standard: What standardises tokens.
        settings: Learning rates, decoupled weight decays (of queries and classifier, not of the bias),
            epochs; its first seed.
        class_weights: Weight of the samples of each class in the mean of a batch, (n_classes,).

    Returns:
        Weights for standardised tokens, float32 (float64 for tokens in float64).

    Raises:
        ValueError: If shapes or labels do not fit, or a weight is not finite at the end.

    Cost:
        Each step about 6 * batch_size * n_tokens * n_features * n_heads multiply-adds for every setting.

    Source:
        Chen et al. 2022, arXiv:2202.03026 (attentive probing: cross-attention of a learned query, then a
        linear classifier) and Bardes et al. 2024, arXiv:2404.08471. Deviation: projections of keys are part
        of the queries and those of values part of W, which they multiply; there is no norm, dropout, residual
        path or MLP, and every head reads all features.
    """
    _require_tokens(x)
    require_labels(labels, n_classes=n_classes, n_samples=len(x))
    generator = torch.Generator().manual_seed(settings.seeds[0])
    n_settings, n_features = len(settings.learning_rates), x.shape[2]
    queries = SPREAD_OF_QUERIES * torch.randn(n_heads, n_features, generator=generator)
    output = INITIAL_SPREAD * torch.randn(n_heads * n_features + 1, n_classes, generator=generator)
    output[-1] = 0.0
    parts = [
        Part(first.to(x.device, _dtype_of(x)).repeat(n_settings, 1, 1), n_biases)
        for first, n_biases in ((queries, 0), (output, 1))
    ]

    def read(weights: Sequence[Tensor], chosen: Tensor) -> Tensor:
        return compute_logits(AttentiveWeights(*weights), standardise(x[chosen], standard))

    trained = descend(
        parts, read, labels, settings=settings, generator=generator, class_weights=class_weights
    )
    return AttentiveWeights(*trained)


def standardise(x: Tensor, standard: Standardisation) -> Tensor:
    """Return standardised tokens in float32 (float64 for tokens in float64); constant features become 0."""
    inverse = torch.where(standard.scale > 0.0, 1.0 / standard.scale, 0.0)
    return (x.to(_dtype_of(x)) - standard.mean.to(_dtype_of(x))) * inverse.to(_dtype_of(x))


def compute_logits(weights: AttentiveWeights, x: Tensor) -> Tensor:
    """Return (n_settings, n_samples, n_classes) of standardised tokens (n_samples, n_tokens, n_features)."""
    n_settings, n_heads, n_features = weights.queries.shape
    attention = (x @ weights.queries.flatten(0, 1).T / math.sqrt(n_features)).softmax(dim=1)
    chosen = (attention.mT @ x).view(len(x), n_settings, n_heads * n_features)
    return chosen.transpose(0, 1) @ weights.output[:, :-1] + weights.output[:, -1:]


def _dtype_of(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _require_tokens(x: Tensor) -> None:
    if x.ndim != 3 or x.numel() == 0:
        raise ValueError(
            "attentive probes read tokens or positions, of shape (n_samples, n_tokens, n_features); got"
            f" {tuple(x.shape)}"
        )
