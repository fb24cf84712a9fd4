"""CKNNA: kernel alignment restricted to common nearest neighbours, in two forms that differ."""

from collections.abc import Iterable, Sequence
from itertools import groupby

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.nearest import Neighbours
from rep_kedro.kernels.similarity.neighbour_lists import Places, iterate_places
from rep_kedro.kernels.undefined import Reasons, pair_reasons


def compare_cknna(
    neighbours: Sequence[Neighbours], n_neighbours: int, *, memory_bytes: int
) -> tuple[Tensor, Reasons]:
    """Return CKNNA as its paper defines it: the cosine of row-centred kernels on common neighbours.

    Args:
        neighbours: One for each model, with cosines.
        n_neighbours: Length of the lists.
        memory_bytes: See ``iterate_places``.

    Returns:
        Symmetric, in [-1, 1], shape (n_models, n_models), and the reason of each NaN.

    Source: Huh et al. 2024, arXiv:2405.07987, appendix A, with rows centred over all stimuli.
    """
    centred = [model.above_mean for model in neighbours]
    products = _empty_matrix(neighbours)
    for places in iterate_places(_shorten(neighbours, n_neighbours), memory_bytes=memory_bytes):
        ours, theirs = _look_up_kernels(centred, places, n_neighbours)
        sums = (ours * theirs).sum(dim=(0, 2))
        products[places.model, places.model :] += sums
    return _divide_by_norms(products.triu() + products.triu(1).T)


def compare_cknna_reference(
    neighbours: Sequence[Neighbours], n_neighbours: int, *, memory_bytes: int
) -> tuple[Tensor, Reasons]:
    """Return CKNNA as the released code computes it, apart from the constant that it adds to the denominator.

    Kernels are masked to common neighbours without being centred, and the unbiased estimator of HSIC is
    applied to them, although masked kernels are not symmetric: only neighbours of each other count in its
    first term, and its last term depends on which model comes first. The code adds 1e-6 to the denominator,
    which changes the value by some 1e-4 and more for small features; here nothing is added.

    Args:
        neighbours: One for each model, with cosines, of at least four stimuli.
        n_neighbours: Length of the lists.
        memory_bytes: See ``iterate_places``.

    Returns:
        Nearly symmetric, about [-1, 1], shape (n_models, n_models), and the reason of each NaN.

    Raises:
        ValueError: If there are fewer than four stimuli.

    Source: Huh et al. 2024, arXiv:2405.07987; Song et al. 2012, JMLR 13:1393, equation 5.
    """
    n = len(neighbours[0].indices)
    if n < 4:
        raise ValueError(f"CKNNA by unbiased HSIC needs at least 4 stimuli, got {n}")
    lists = _shorten(neighbours, n_neighbours)
    mutual = [_find_mutual(model, memory_bytes) for model in lists]
    hsic = _empty_matrix(neighbours)
    blocks = iterate_places(lists, memory_bytes=memory_bytes)
    for a, blocks_of_a in groupby(blocks, key=lambda places: places.model):
        hsic[a, a:], hsic[a:, a] = _estimate_hsic(a, blocks_of_a, lists, mutual)
    return _divide_by_norms(hsic)


def _estimate_hsic(
    a: int, blocks: Iterable[Places], lists: Sequence[Neighbours], mutual: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return unbiased HSIC, times n (n - 3), of model a with the models from a on, and of them with it."""
    n, n_neighbours = lists[a].indices.shape
    # [:, b, 0] belongs to the kernel of a, [:, b, 1] to that of b, both masked to common neighbours
    row_sums = lists[a].similarities.new_zeros(n, len(lists) - a, 2)
    column_sums = torch.zeros_like(row_sums)
    traces = row_sums.new_zeros(len(lists) - a)
    kernels = [model.similarities for model in lists]
    for places in blocks:
        both = torch.stack(_look_up_kernels(kernels, places, n_neighbours), dim=-1)
        ours, theirs = _look_up_kernels(mutual, places, n_neighbours)
        traces += (both.prod(dim=-1) * ours * theirs).sum(dim=(0, 2))
        row_sums[places.rows] = both.sum(dim=2)
        for b, model in enumerate(lists[a:]):
            column_sums[:, b].index_add_(0, model.indices[places.rows].flatten(), both[:, b].flatten(0, 1))
    symmetric = traces + row_sums.sum(dim=0).prod(dim=-1) / ((n - 1) * (n - 2))
    through = (column_sums * row_sums.flip(-1)).sum(dim=0)  # 1' K L 1, and 1' L K 1
    return symmetric - 2 * through[:, 0] / (n - 2), symmetric - 2 * through[:, 1] / (n - 2)


def _shorten(neighbours: Sequence[Neighbours], n_neighbours: int) -> list[Neighbours]:
    return [
        Neighbours(
            *(part[:, :n_neighbours] for part in (model.indices, model.similarities, model.above_mean))
        )
        for model in neighbours
    ]


def _look_up_kernels(kernels: Sequence[Tensor], places: Places, n_neighbours: int) -> tuple[Tensor, Tensor]:
    """Return the kernel of the one model and of the others at common neighbours, 0 elsewhere."""
    common = places.common(n_neighbours)
    own = kernels[places.model][places.rows, None].expand(-1, common.shape[1], -1)
    ours = own.gather(2, (places.places.long() - 1).clamp(min=0))
    theirs = torch.stack([kernel[places.rows, :n_neighbours] for kernel in kernels[places.model :]], dim=1)
    return ours.masked_fill(~common, 0), theirs.masked_fill(~common, 0)


def _find_mutual(model: Neighbours, memory_bytes: int) -> Tensor:
    """Return 1 for the neighbours of a stimulus that have it among their own neighbours, else 0."""
    n_stimuli, n_neighbours = model.indices.shape
    rows_per_block = max(1, memory_bytes // (16 * n_neighbours**2))
    blocks = []
    for start in range(0, n_stimuli, rows_per_block):
        rows = model.indices[start : start + rows_per_block]
        home = torch.arange(start, start + len(rows), device=rows.device)
        blocks.append((model.indices[rows] == home[:, None, None]).any(dim=2))
    return torch.cat(blocks).double()


def _divide_by_norms(products: Tensor) -> tuple[Tensor, Reasons]:
    """Divide by the roots of the diagonal; a model whose own product is not positive has no value."""
    own = products.diagonal()
    why = {
        model: f"its alignment with itself is {own[model].item():.3g}, which is not positive and cannot be a"
        " divisor; use more neighbours"
        for model in (own <= 0).nonzero().flatten().tolist()
    }
    squared = own.clone()
    squared[list(why)] = torch.nan
    # one root of the product, so that a model gives exactly 1 with itself
    return products / torch.outer(squared, squared).sqrt(), pair_reasons(why, len(products))


def _empty_matrix(neighbours: Sequence[Neighbours]) -> Tensor:
    return neighbours[0].similarities.new_zeros(len(neighbours), len(neighbours))
