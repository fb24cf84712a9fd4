"""Representational similarity analysis (RSA): compare dissimilarity matrices (RDMs) of all models at once.

An RDM contains the dissimilarity of every two stimuli for a model. What Pearson, cosine and whitened cosine
need of RDMs are sums of products, mostly without an elementwise pass; what rank correlations need are
ranks, made once for each model.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.centred import CentredFeatures, centre, room_for, smallest_spread
from rep_kedro.kernels.similarity.cosines import cosines, flaws_of
from rep_kedro.kernels.similarity.distance_sums import Distance, distance_pair_sums
from rep_kedro.kernels.similarity.gram import PairSums, linear_pair_sums
from rep_kedro.kernels.similarity.rdm_ranks import compare_ranks
from rep_kedro.kernels.similarity.stimulus_sample import (
    sample_stimuli,
    suffices_for_distances,
    suffices_for_products,
)
from rep_kedro.kernels.undefined import Reasons

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
        ValueError: If the memory cannot fit the ranks of two models.

    Source:
        Kriegeskorte et al. 2008, doi:10.3389/neuro.06.004.2008 (RSA); Diedrichsen et al. 2021,
        arXiv:2007.02789 (whitened); Schütt et al. 2023, doi:10.7554/eLife.82566 (rho-a).
    """
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
    models = _prepare_all(representations, kind, None)
    samples, maps = sample_stimuli(models), [Distance()]
    single = models[0].features.dtype != torch.float64
    if kind == "euclidean":
        if single and not suffices_for_distances(samples, maps):
            models = _prepare_all(representations, kind, torch.float64)
        [(sums, terms)] = distance_pair_sums(models, maps, samples, memory_bytes=memory_bytes)
        return sums.with_row_terms(-terms), models
    if single and not suffices_for_products(samples):
        models = _prepare_all(representations, kind, torch.float64)
    linear = linear_pair_sums(models, memory_bytes=memory_bytes)
    squared_norms = torch.stack([m.squared_norms for m in models])
    # |x_i - x_j|^2; of rows of unit norm it is twice one minus their cosine, and centring changes no distance
    return linear.scaled(-2).with_row_terms(squared_norms), models


def _prepare_all(
    representations: Sequence[Tensor], kind: str, dtype: torch.dtype | None
) -> list[CentredFeatures]:
    rooms = room_for(representations, dtype=dtype)
    return [
        prepare_for_rdm(x, kind, dtype=dtype, out=out) for x, out in zip(representations, rooms, strict=True)
    ]


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
    if kind in {"euclidean", "squared_euclidean"}:
        return centre(x, dtype=dtype, out=out)
    means, norms, flaw = _describe_rows(x, kind)

    def turn_into_directions(block: Tensor, rows: slice) -> Tensor:
        # stimuli far from zero differ little in direction: nothing is rounded before their mean is subtracted
        return block.sub_(means[rows]).div_(norms[rows])

    return centre(x, form=turn_into_directions, flaw=flaw, dtype=dtype, out=out)


def _describe_rows(x: Tensor, kind: str) -> tuple[Tensor, Tensor, str | None]:
    """Return what to subtract from each row and what to divide it by, float64, and why that is undefined."""
    means = torch.zeros(len(x), 1, dtype=torch.float64, device=x.device)
    norms = torch.empty_like(means)
    n_flat = torch.zeros((), dtype=torch.int64, device=x.device)
    for start in range(0, len(x), ROWS_PER_BLOCK):
        rows = slice(start, start + ROWS_PER_BLOCK)
        block = x[rows].double()
        raw_norms = _norms_of(block)
        if kind == "correlation":
            means[rows] = block.mean(dim=1, keepdim=True)
            block = block - means[rows]
        norms[rows] = _norms_of(block)
        n_flat += (norms[rows] <= smallest_spread(x.dtype) * raw_norms).sum()
    flat = int(n_flat)
    if not flat:
        return means, norms, None
    what = "the same value in all features, up to rounding" if kind == "correlation" else "only zero features"
    return means, norms, f"{flat} of {len(x)} stimuli have {what}, so {kind} is undefined"


def _norms_of(rows: Tensor) -> Tensor:
    """Return the length of each row, whose squares need not be within the range of float64."""
    largest = rows.abs().amax(dim=1, keepdim=True)
    norms: Tensor = torch.linalg.vector_norm(rows / largest.masked_fill(largest == 0, 1), dim=1, keepdim=True)
    return largest * norms


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
