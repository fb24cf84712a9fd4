"""What is one layer like? Its spectrum, its dimension, and what its positions see of the image."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from rep_kedro.api.arrays import Array, to_matrix
from rep_kedro.api.extracting import require_network
from rep_kedro.errors import UserError
from rep_kedro.kernels.layers.border import BORDER_RULES, BorderRule
from rep_kedro.kernels.layers.dimensions import compute_covariance_eigenvalues, measure_dimensions
from rep_kedro.kernels.layers.neighbour_dimensions import NeighbourDimensions, measure_neighbour_dimensions
from rep_kedro.kernels.layers.spectrum import SaturationRule
from rep_kedro.models.fields import find_layer_fields
from rep_kedro.parameter_rules import require_whole
from rep_kedro.schemas.columns import Kind
from rep_kedro.schemas.diagnostics import RECEPTIVE_FIELDS

if TYPE_CHECKING:
    from pandas import DataFrame

_OF_RUNS = frozenset({"model", "layer", "depth", "input_px"})
_NULLABLE = {Kind.INTEGER: "Int64", Kind.FLAG: "boolean", Kind.TEXT: "object"}


@dataclass(frozen=True)
class Spectrum:
    """The spectrum of a representation and its dimensions.

    Attributes:
        eigenvalues: Of the covariance of the features, largest first, float64, (n_features,); infinite or 0
            where they leave the range of float64, which the other values do not.
        intrinsic_dimension: Leading components that carry the share ``delta`` of the variance; None where
            nothing varies.
        saturation: The same as a share of the features.
        effective_rank: exp of the entropy of the eigenvalues as shares.
        participation_ratio: (sum of eigenvalues)^2 / sum of their squares.
        rankme: exp of the entropy of the singular values, of the representation as it is.
        reason: Why values are NaN; empty if none is.
    """

    eigenvalues: np.ndarray = field(repr=False, compare=False)
    intrinsic_dimension: int | None
    saturation: float
    effective_rank: float
    participation_ratio: float
    rankme: float
    reason: str


def spectrum(
    representation: Array, *, delta: float = 0.99, rule: SaturationRule = "reach", epsilon: float = 1e-7
) -> Spectrum:
    """Return the eigenvalues of a representation and what they say of its dimension.

    Args:
        representation: Shape (n_samples, n_features), at least two samples; of numpy or torch.
        delta: Share of the variance that the intrinsic dimension must carry.
        rule: ``reach``: the smallest number of components that carries the share; ``delve`` repeats the delve
            library.
        epsilon: Added to each singular value share by RankMe.

    Raises:
        UserError: If it is not a finite matrix of two samples or more, its squares leave the range of
            float64, or ``delta``, ``rule`` or ``epsilon`` is not allowed.

    Cost:
        With m the smaller and k the larger of both sides, memory O(m * k), time O(m^2 * k).

    Example:
        >>> found = spectrum([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> found.eigenvalues.tolist(), found.intrinsic_dimension, found.participation_ratio
        ([1.0, 1.0], 2, 2.0)
    """
    if not 0 <= epsilon < math.inf:
        raise UserError(f"epsilon must be finite and not negative, got {epsilon}")
    x = to_matrix(representation, "the representation", fewest=2).cpu().double()
    exponent = int(torch.frexp(x.abs().max()).exponent)
    x = _times_power_of_two(x, -exponent)  # costs no digit; squares of extreme scales would leave the range
    eigenvalues, is_constant = compute_covariance_eigenvalues(x)
    try:
        found = measure_dimensions(
            None if is_constant else eigenvalues,
            torch.linalg.svdvals(x),
            delta=delta,
            rule=rule,
            epsilon=epsilon,
        )
    except ValueError as problem:
        raise UserError(str(problem)) from problem
    return Spectrum(
        eigenvalues=_times_power_of_two(eigenvalues, 2 * exponent).numpy(),
        intrinsic_dimension=found.intrinsic_dimension,
        saturation=found.saturation,
        effective_rank=found.effective_rank,
        participation_ratio=found.participation_ratio,
        rankme=found.rankme,
        reason="the features do not vary beyond rounding" if is_constant else "",
    )


def _times_power_of_two(x: Tensor, exponent: int) -> Tensor:
    """Return x * 2^exponent, in two steps: the power itself may be out of range where the product is not."""
    half = exponent // 2
    return x * 2.0**half * 2.0 ** (exponent - half)


def neighbour_dimensions(representation: Array) -> NeighbourDimensions:
    """Return intrinsic dimensions of a representation from the distances to its nearest neighbours.

    Args:
        representation: Shape (n_samples, n_features), of numpy or torch.

    Returns:
        ``two_nn`` (TwoNN, at least 3 different samples), ``mle`` (maximum likelihood, at least 21),
        ``n_distinct`` (samples that differ) and ``reason``, why values are NaN.

    Raises:
        UserError: If it is not a finite matrix of at least three samples.

    Cost:
        Time O(n_samples^2 * n_features); 10,000 samples of 512 features take some seconds.

    Example:
        >>> line = np.random.default_rng(0).random((400, 1)) * [[1.0, 2.0, -1.0]]
        >>> found = neighbour_dimensions(line)
        >>> round(found.mle, 1), found.n_distinct
        (1.0, 400)
    """
    return measure_neighbour_dimensions(to_matrix(representation, "the representation", fewest=3).cpu())


def receptive_field(
    model: nn.Module, size: int, *, border_rule: BorderRule = "input", channels: int | None = None
) -> DataFrame:
    """Return what one position of each layer sees of the image, and where the border is.

    Behind the border nothing local can be added: positions see the whole image already. Weights are not read
    and nothing is computed; the network is left as it is.

    Args:
        model: A network, of this project or any other.
        size: Side of the image in pixels.
        border_rule: ``input``: the border is the first convolution fed by positions that see the whole image;
            ``smallest_path``: the first from which on even the smallest field over all paths exceeds the
            image, for networks with skip connections.
        channels: Channels of the image; None: those of the first convolution, or of the first linear layer
            if it reads all pixels. Where the network does not take so many, the error asks for them.

    Returns:
        One row for each module that a pass reaches, indexed by layer. Columns as in the table
        `receptive_fields` of a run (docs/tables.md), without `model`, `layer`, `depth` and `input_px`:
        ``receptive_field_px`` (may exceed the image), ``jump_px`` between neighbouring positions, the largest
        and the smallest field through windows along both axes, the border, and ``reason`` where the receptive
        field is not known.

    Raises:
        UserError: If the network does not take images of this size, or branches on their values.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2))
        >>> receptive_field(network, 32)["receptive_field_px"].tolist()
        [3, 3, 5]
    """
    import pandas as pd

    if border_rule not in BORDER_RULES:
        raise UserError(f"unknown border_rule {border_rule!r}; known: {', '.join(BORDER_RULES)}")
    require_network(model, "model")
    size = require_whole(size, "size", least=1)
    if channels is not None:
        channels = require_whole(channels, "channels", least=1)
    found = find_layer_fields(model, None, size, rule=border_rule, channels=channels)
    rows = {layer: {**found.row(layer), "reason": ""} for layer in found.known}
    rows |= {layer: {"reason": why} for layer, why in found.unknown.items()}
    kinds = {c.name: _NULLABLE[c.kind] for c in RECEPTIVE_FIELDS.columns if c.name not in _OF_RUNS}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(kinds)).rename_axis("layer")
    return table.astype(kinds)
