"""Measures on Euclidean distances between stimuli: how far two matrices are apart, and how they cluster."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.centred import CentredFeatures, centre_all
from rep_kedro.kernels.similarity.gram import tile_side, tiles, view_of
from rep_kedro.kernels.similarity.spanning_trees import Tree, compare_trees, find_tree
from rep_kedro.kernels.similarity.squared_distances import squared_distance_tile
from rep_kedro.kernels.undefined import Reasons, pair_reasons


def compare_distances(
    representations: Sequence[Tensor],
    requests: Mapping[str, Mapping[str, Any]],
    *,
    memory_bytes: int,
) -> Iterator[tuple[str, Tensor, Reasons]]:
    """Compare all models by the distances between their stimuli.

    Args:
        representations: One matrix for each model, shape (n_stimuli, n_features_i), finite, row s for the
            same stimulus in all.
        requests: By a name of the caller's: ``statistic``, ``norm_difference`` (see ``compare_norms``) or
            ``rtd_lite`` (see ``compare_trees``).
        memory_bytes: Bound for blocks of distances. On top come a float64 copy of the features and, for
            RTD-Lite, at most 30 MB for the unit of one model's distances.

    Yields:
        Name, values of shape (n_models, n_models), float64, symmetric, NaN where undefined, and the reason of
        each NaN.
    """
    models = centre_all(representations, dtype=torch.float64)
    for name, parameters in requests.items():
        if parameters["statistic"] == "norm_difference":
            yield name, compare_norms(models, memory_bytes=memory_bytes), {}
        elif parameters["statistic"] == "rtd_lite":
            yield name, *_compare_lite(models, memory_bytes)


def compare_norms(models: Sequence[CentredFeatures], *, memory_bytes: int) -> Tensor:
    """Return the Frobenius norm of the difference of two distance matrices.

    Args:
        models: Centred features in float64.
        memory_bytes: Bounds the tiles; does not change the result.

    Returns:
        Shape (n_models, n_models), float64, symmetric, 0 or more, in units of the features. Distances of
        models 1e150 times smaller than others of the same call count as zero.

    Cost:
        O(n_models * n_stimuli^2 * n_features) for distances, O(n_models^2 * n_stimuli^2) for differences.

    Source:
        Klabunde et al. 2025, doi:10.1145/3728458, section 3.3.1, on whole matrices; of each pair of stimuli
        once, as in llm_repsim, it is smaller by the root of two. The ReSi benchmark takes the spectral norm.
    """
    largest = max(model.unit for model in models) or 1.0
    x = models[0].features
    side = tile_side(len(models), len(x), x, memory_bytes)
    buffer = x.new_empty(len(models) * side**2)
    total = x.new_zeros(len(models), len(models))
    for rows, columns in tiles(len(x), side):
        stack = view_of(buffer, len(models), rows, columns)
        for model, tile in zip(models, stack, strict=True):
            squared_distance_tile(model, rows, columns, tile).sqrt_().mul_(model.unit / largest)
            if rows == columns:
                tile.fill_diagonal_(0)
        flat = stack.flatten(start_dim=1)
        # of differences: sums of products would lose the digits of models that hardly differ
        squared = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist").square_()
        total += squared if rows == columns else 2 * squared
    return largest * total.sqrt()


def _compare_lite(models: Sequence[CentredFeatures], memory_bytes: int) -> tuple[Tensor, Reasons]:
    found = [find_tree(model, memory_bytes=memory_bytes) for model in models]
    flaws = {place: why for place, why in enumerate(found) if isinstance(why, str)}
    kept = torch.tensor([place for place in range(len(found)) if place not in flaws], dtype=torch.int64)
    values = torch.full((len(found), len(found)), torch.nan, dtype=torch.float64)
    trees = [tree for tree in found if isinstance(tree, Tree)]
    values[kept[:, None], kept] = compare_trees(trees, len(models[0].features))
    return values.to(models[0].features.device), pair_reasons(flaws, len(found))
