"""Representational similarity analysis (RSA): compare dissimilarity matrices (RDMs) of all models at once.

An RDM says how unlike each two stimuli are to a model. What Pearson, cosine and whitened cosine need of
RDMs are sums of products, mostly without an elementwise pass; what rank correlations need are ranks,
made once for each model.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rep_kedro.kernels.cosines import Reasons, cosines, flaws_of
from rep_kedro.kernels.distance_sums import Distance, distance_pair_sums
from rep_kedro.kernels.gram import (
    SAME_BELOW_EPS,
    CentredFeatures,
    PairSums,
    centre,
    linear_pair_sums,
    room_for,
)
from rep_kedro.kernels.rdm_ranks import compare_ranks

Parameters = Mapping[str, Any]
Answer = tuple[str, Tensor, Reasons]

RDM_KINDS = ("correlation", "cosine", "euclidean", "squared_euclidean")
RANK_COMPARISONS = ("spearman", "rho_a", "tau_a")
SUM_COMPARISONS = ("pearson", "cosine", "whitened_cosine")
ROWS_PER_BLOCK = 256
ZERO = {
    "pearson": "all its dissimilarities are equal",
    "cosine": "all its dissimilarities are zero",
    "whitened_cosine": "all its dissimilarities are zero",
}


def compare_rsa(
    representations: Sequence[Tensor], requests: Mapping[str, Parameters], *, memory_bytes: int
) -> Iterator[Answer]:
    """Compare all models under RSA measures; each kind of RDM is made once, and ranked at most once.

    Args:
        representations: One matrix for each model, shape (n_stimuli, n_features_i), at least four stimuli.
        requests: Parameters by name: ``rdm`` (correlation, cosine, euclidean, squared_euclidean) and
            ``compare`` (pearson, cosine, whitened_cosine, spearman, rho_a, tau_a).
        memory_bytes: Working memory beyond the features and a prepared copy of them.

    Returns:
        Iterator over (name, similarities (n_models, n_models) float64, reason for each NaN).

    Raises:
        ValueError: If an RDM or a comparison is unknown, or the memory cannot hold the ranks of two models.

    Source:
        Kriegeskorte et al. 2008, doi:10.3389/neuro.06.004.2008 (RSA); Diedrichsen et al. 2021,
        arXiv:2007.02789 (whitened); Schütt et al. 2023, doi:10.7554/eLife.82566 (rho-a).
    """
    for parameters in requests.values():
        _require_known(parameters)
    for kind in RDM_KINDS:
        chosen = {name: p["compare"] for name, p in requests.items() if p["rdm"] == kind}
        by_sums = {name: how for name, how in chosen.items() if how in SUM_COMPARISONS}
        if by_sums:
            sums, models = rdm_pair_sums(representations, kind, memory_bytes=memory_bytes)
            for name, how in by_sums.items():
                yield name, *_compare_sums(sums, models, how)
        by_ranks = {name: how for name, how in chosen.items() if how in RANK_COMPARISONS}
        if by_ranks:
            yield from compare_ranks(
                [RdmSource(x, kind) for x in representations], by_ranks, memory_bytes=memory_bytes
            )


def rdm_pair_sums(
    representations: Sequence[Tensor], kind: str, *, memory_bytes: int
) -> tuple[PairSums, list[CentredFeatures]]:
    """Sum products of the RDMs of all models.

    Args:
        representations: One matrix for each model, shape (n_stimuli, n_features_i).
        kind: Kind of RDM. Euclidean distances are in units of a model's root mean squared distance from
            its mean stimulus.
        memory_bytes: Bounds the tiles; does not change the result.

    Returns:
        Sums over off-diagonal entries of the RDMs, and the models as prepared.
    """
    room = room_for(representations)
    models = [prepare_for_rdm(x, kind, out=out) for x, out in zip(representations, room, strict=True)]
    if kind == "euclidean":
        [(shifted, shifts)] = distance_pair_sums(models, [Distance()], memory_bytes=memory_bytes)
        n = shifted.row_sums.shape[1]
        return shifted.with_row_terms(-shifts[:, None].expand(-1, n) / 2), models
    linear = linear_pair_sums(models, memory_bytes=memory_bytes)
    squared_norms = torch.stack([m.squared_norms for m in models])
    # |x_i - x_j|^2; of rows of unit norm it is twice one minus their cosine, and centring changes no distance
    return linear.scaled(-2).with_row_terms(squared_norms), models


def prepare_for_rdm(
    x: Tensor, kind: str, *, dtype: torch.dtype | None = None, out: Tensor | None = None
) -> CentredFeatures:
    """Turn features into points whose distances, or squared distances, are the RDM but for a factor.

    Args:
        x: Features, shape (n_stimuli, n_features).
        kind: Kind of RDM.
        dtype: Type of the points, that of ``x`` by default.
        out: Where to write the points; new by default.
    """
    dtype = dtype or x.dtype
    if kind in {"euclidean", "squared_euclidean"}:
        return centre(x.to(dtype), out=out, rounded_as=x.dtype)
    points = torch.empty_like(x, dtype=dtype, memory_format=torch.contiguous_format)
    n_flat = torch.zeros((), dtype=torch.int64, device=x.device)
    for start in range(0, len(x), ROWS_PER_BLOCK):
        rows = slice(start, start + ROWS_PER_BLOCK)
        directions = torch.empty_like(x[rows], dtype=torch.float64).copy_(x[rows])
        raw_norms = torch.linalg.vector_norm(directions, dim=1, keepdim=True)
        norms = raw_norms
        if kind == "correlation":
            directions = directions.sub_(directions.mean(dim=1, keepdim=True))
            norms = torch.linalg.vector_norm(directions, dim=1, keepdim=True)
        n_flat += (norms <= SAME_BELOW_EPS * torch.finfo(x.dtype).eps * raw_norms).sum()
        points[rows] = directions.div_(norms)
    flat = int(n_flat)
    if not flat:
        return centre(points, out=out, rounded_as=x.dtype)
    what = "equal features throughout" if kind == "correlation" else "no feature other than zero"
    flaw = f"{flat} of {len(x)} stimuli have {what}, so that {kind} is undefined"
    return centre(points, flaw=flaw, out=out)


class RdmSource:
    """Makes the points of one model's RDM in float64 when asked, so that only one model's are held."""

    def __init__(self, x: Tensor, kind: str) -> None:
        """Remember features, shape (n_stimuli, n_features), and the kind of RDM."""
        self._x, self._kind = x, kind
        self.n_stimuli, self.device = len(x), x.device

    def points(self) -> CentredFeatures:
        """Return the points; float64, since rounding would tear ties apart."""
        return prepare_for_rdm(self._x, self._kind, dtype=torch.float64)


def _compare_sums(sums: PairSums, models: Sequence[CentredFeatures], how: str) -> tuple[Tensor, Reasons]:
    if how == "pearson":
        inner = sums.mean_centred()
    elif how == "cosine":
        inner = sums.products
    else:
        inner = sums.double_centred(torch.zeros_like(sums.row_sums))
    return cosines(inner, sums.rounding, flaws_of(models), if_zero=ZERO[how])


def _require_known(parameters: Parameters) -> None:
    if parameters["rdm"] not in RDM_KINDS:
        raise ValueError(f"unknown RDM {parameters['rdm']!r}, allowed: {', '.join(RDM_KINDS)}")
    allowed = SUM_COMPARISONS + RANK_COMPARISONS
    if parameters["compare"] not in allowed:
        raise ValueError(f"unknown comparison {parameters['compare']!r}, allowed: {', '.join(allowed)}")
