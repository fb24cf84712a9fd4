"""Maps that are found from the moments of two layers, without training."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from rep_kedro.analyses.stitching.maps import (
    LeastSquaresMap,
    MatchingMap,
    OrthogonalMap,
    ReducedRankMap,
    StartMap,
)
from rep_kedro.kernels.stitching.maps import (
    AffineMap,
    choose_ridge,
    fit_affine_map,
    fit_masked_map,
    fit_orthogonal_map,
    fit_reduced_rank_map,
    fit_ridge_map,
    zero_small_weights,
)
from rep_kedro.kernels.stitching.moments import PairedMoments
from rep_kedro.kernels.stitching.starts import STARTS

HELD_OUT_EVERY = 5
"""Every so many-th training image is held out where the penalty of a ridge is chosen."""


class FitMoments(NamedTuple):
    """Moments of the training images of one joint.

    Attributes:
        all: Of all of them.
        fit: Of those that a penalty is tried on; None where none is chosen.
        held_out: Of those that it is chosen on.
    """

    all: PairedMoments
    fit: PairedMoments | None = None
    held_out: PairedMoments | None = None


class Fitted(NamedTuple):
    """A map, and what is known of how it was found: fields of a row of results."""

    map: AffineMap
    facts: Mapping[str, Any] = {}


def fit_map(given: Any, moments: FitMoments, seed: int) -> Fitted:
    """Return a map.

    Args:
        given: Its entry, of any kind but a trained one.
        moments: Of the joint.
        seed: Of what is drawn.
    """
    fitted = _FITS[type(given)](given, moments, seed)
    if not given.sparse:
        return fitted
    return fitted._replace(map=zero_small_weights(fitted.map, given.sparse))


def chooses_ridge(given: object) -> bool:
    """Return whether a map needs images that are held out."""
    return isinstance(given, LeastSquaresMap) and isinstance(given.ridge, list)


def _fit_least_squares(given: LeastSquaresMap, moments: FitMoments, _: int) -> Fitted:
    ridge = given.ridge
    if isinstance(ridge, list):
        if moments.fit is None or moments.held_out is None:
            raise ValueError("a penalty is chosen on held-out moments, got none")
        ridge = choose_ridge(moments.fit, moments.held_out, ridge)[0]
    facts = {"ridge": ridge}
    if ridge == 0.0:
        return Fitted(fit_affine_map(moments.all, relative_cutoff=given.relative_cutoff), facts)
    return Fitted(fit_ridge_map(moments.all, ridge=ridge), facts)


def _fit_orthogonal(_: OrthogonalMap, moments: FitMoments, __: int) -> Fitted:
    return Fitted(fit_orthogonal_map(moments.all))


def _fit_reduced_rank(given: ReducedRankMap, moments: FitMoments, _: int) -> Fitted:
    return Fitted(fit_reduced_rank_map(moments.all, rank=given.rank))


def _fit_matching(given: MatchingMap, moments: FitMoments, _: int) -> Fitted:
    from rep_kedro.kernels.stitching.masks import MASKS, MaskSource

    source = MaskSource(moments.all, torch.Generator().manual_seed(given.seed))
    return Fitted(fit_masked_map(moments.all, MASKS[given.rule](source)))


def _take_start(given: StartMap, moments: FitMoments, seed: int) -> Fitted:
    return Fitted(STARTS[given.init](moments.all, torch.Generator().manual_seed(seed)))


_FITS: dict[type, Callable[[Any, FitMoments, int], Fitted]] = {
    LeastSquaresMap: _fit_least_squares,
    OrthogonalMap: _fit_orthogonal,
    ReducedRankMap: _fit_reduced_rank,
    MatchingMap: _fit_matching,
    StartMap: _take_start,
}
