"""All pairs of models under all linear-map measures: one basis for each model, one product for each pair."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.basis import Basis, compute_bases, iterate_pair_blocks
from rep_kedro.kernels.similarity.cca import (
    measure_cca_mean,
    measure_cca_mean_squared,
    measure_eigenspace_overlap,
    measure_pwcca,
    measure_svcca,
)
from rep_kedro.kernels.similarity.centred import SAME
from rep_kedro.kernels.similarity.model_pairs import PairValues
from rep_kedro.kernels.similarity.procrustes import (
    Rotations,
    compute_rotations,
    measure_nbs,
    measure_procrustes,
    measure_procrustes_angular,
    measure_shape_angular,
    measure_size_and_shape,
)
from rep_kedro.kernels.similarity.regression import measure_gulp, measure_linear_regression
from rep_kedro.kernels.undefined import Reasons, Undefined, pair_reasons

FORMULAS: dict[str, Callable[..., PairValues]] = {
    "cca_mean": measure_cca_mean,
    "cca_mean_squared": measure_cca_mean_squared,
    "svcca": measure_svcca,
    "pwcca": measure_pwcca,
    "eigenspace_overlap": measure_eigenspace_overlap,
    "linear_regression": measure_linear_regression,
    "gulp": measure_gulp,
    "shape_angular": measure_shape_angular,
}
ROTATION_FORMULAS: dict[str, Callable[[Rotations], Tensor]] = {
    "nbs": measure_nbs,
    "procrustes": measure_procrustes,
    "procrustes_angular": measure_procrustes_angular,
    "size_and_shape": measure_size_and_shape,
}
NEEDS_LOADINGS = frozenset({"pwcca"})


def compare_linear_maps(
    representations: Sequence[Tensor],
    requests: Mapping[str, Mapping[str, Any]],
    *,
    memory_bytes: int,
) -> Iterator[tuple[str, Tensor, Reasons]]:
    """Compare all models under measures that look for a linear map between them.

    Args:
        representations: One matrix for each model, shape (n_stimuli, n_features_i), finite, row s for the
            same stimulus in all; float32 or float64, all on one device.
        requests: By a name of the caller's, what to compute: ``statistic``, one of ``FORMULAS`` or
            ``ROTATION_FORMULAS``, and its parameters.
        memory_bytes: Bound for the products of bases in memory, one pair at least. The bases come on top,
            float64, n_stimuli x rank for each model, and for projection-weighted CCA rank x n_features; for
            measures of Procrustes' kind a centred float64 copy.

    Yields:
        Name, values of shape (n_models, n_models), float64, NaN where undefined, and the reason of each NaN.
        Entry (a, b) of a directed measure goes from a to b.

    Cost:
        Time O(n_stimuli * rank^2 * n_models^2 / 2) for the products; each nuclear norm O(rank^3) a pair.

    Example:
        >>> x = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0], [3.0, 5.0]])
        >>> for _, values, _ in compare_linear_maps(
        ...     [x, x.flip(1) - 3], {"nbs": {"statistic": "nbs"}}, memory_bytes=10**6
        ... ):
        ...     print(values.round(decimals=6))
        tensor([[1., 1.],
                [1., 1.]], dtype=torch.float64)
    """
    bound = {name: _bind_formula(**parameters) for name, parameters in requests.items()}
    by_rotation = {name: statistic for name, statistic in bound.items() if isinstance(statistic, str)}
    by_bases = {name: formula for name, formula in bound.items() if not isinstance(formula, str)}
    if by_rotation:
        rotations = compute_rotations(representations, memory_bytes=memory_bytes)
        for name, statistic in by_rotation.items():
            why = dict.fromkeys(rotations.blind, SAME)
            yield name, ROTATION_FORMULAS[statistic](rotations), pair_reasons(why, len(representations))
    if by_bases:
        with_loadings = any(parameters["statistic"] in NEEDS_LOADINGS for parameters in requests.values())
        bases = compute_bases(representations, with_loadings=with_loadings)
        yield from _compare_bases(bases, by_bases, memory_bytes)


def _compare_bases(
    bases: Sequence[Basis], formulas: Mapping[str, Callable[..., PairValues]], memory_bytes: int
) -> Iterator[tuple[str, Tensor, Reasons]]:
    shape = (len(bases), len(bases))
    device = bases[0].directions.device
    matrices = {name: torch.full(shape, torch.nan, dtype=torch.float64, device=device) for name in formulas}
    why = {model: SAME for model, basis in enumerate(bases) if basis.rank == 0}
    reasons = {name: pair_reasons(why, len(bases)) for name in formulas}
    for block in iterate_pair_blocks(bases, memory_bytes=memory_bytes):
        for name, formula in formulas.items():
            values = formula(block)
            matrices[name][block.second, block.first] = values.backward
            matrices[name][block.first, block.second] = values.forward
            for position, reason in values.backward_reasons.items():
                reasons[name][block.second[position], block.first[position]] = (Undefined(reason),)
            for position, reason in values.forward_reasons.items():
                reasons[name][block.first[position], block.second[position]] = (Undefined(reason),)
    for name, matrix in matrices.items():
        yield name, matrix, reasons[name]


def _bind_formula(*, statistic: str, **settings: Any) -> Callable[..., PairValues] | str:
    """Look up a formula; of rotation measures return the statistic."""
    if statistic in ROTATION_FORMULAS:
        return statistic
    return "procrustes_angular" if settings.get("alpha") == 1 else partial(FORMULAS[statistic], **settings)
