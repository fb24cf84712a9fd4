"""Dissimilarity matrices that are given, among representations: measures of RSA take them, others cannot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rep_kedro.errors import UserError
from rep_kedro.measures.measure import Measure
from rep_kedro.measures.named import Reasons, compare_named

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

Result = tuple[Measure, "np.ndarray", Reasons]


def compare_with_rdms(
    representations: Mapping[str, Tensor],
    rdms: Mapping[str, Tensor],
    measures: Sequence[Measure],
    *,
    memory_bytes: int,
    device: torch.device | str | None = None,
) -> Iterator[Result]:
    """Compare representations and given dissimilarity matrices (RDMs) under every measure.

    Args:
        representations: By name, shape (n_stimuli, n_features_i), row s for the same stimulus in all.
        rdms: By name, symmetric, shape (n_stimuli, n_stimuli), of the same stimuli.
        measures: From the registry.
        memory_bytes: Working memory; changes speed, not the result.
        device: Where to compute; None computes where the representations are.

    Yields:
        As ``compare_named``, with the representations first and the matrices behind them. Values between
        representations are the same as without matrices. Measures other than RSA are undefined for a matrix.

    Raises:
        UserError: If they cannot be compared, or the memory does not suffice for the matrices.
    """
    if not rdms:
        yield from compare_named(representations, measures, memory_bytes=memory_bytes, device=device)
        return
    labels, n = (*representations, *rdms), len(next(iter(rdms.values())))
    for name, x in [*representations.items(), *rdms.items()]:
        if len(x) != n or (name in rdms and x.shape != (n, n)):
            raise UserError(f"{name} has shape {tuple(x.shape)}; dissimilarities are of {n} stimuli")
    given = _compare_rdms(representations, rdms, measures, memory_bytes, device)
    for measure, values, reasons in _among_networks(representations, measures, memory_bytes, device):
        yield _with_rdms(measure, values, reasons, labels, given.get(measure.id), n)


def _among_networks(
    representations: Mapping[str, Tensor],
    measures: Sequence[Measure],
    memory_bytes: int,
    device: torch.device | str | None,
) -> Iterator[Result]:
    import numpy as np

    if representations:
        yield from compare_named(representations, measures, memory_bytes=memory_bytes, device=device)
    else:
        yield from ((measure, np.empty((0, 0)), {}) for measure in measures)


def _compare_rdms(
    representations: Mapping[str, Tensor],
    rdms: Mapping[str, Tensor],
    measures: Sequence[Measure],
    memory_bytes: int,
    device: torch.device | str | None,
) -> dict[str, tuple[np.ndarray, dict[tuple[int, int], str]]]:
    """Return the rows of the matrices under each RSA measure, and the reason for each NaN."""
    from rep_kedro.kernels.precision import full_precision
    from rep_kedro.kernels.undefined import explain
    from rep_kedro.measures.compare import in_one_type

    n = len(next(iter(rdms.values())))
    asked = [m for m in measures if m.rdm_runner is not None and not _refusal(m, n)]
    if not asked or asked[0].rdm_runner is None:
        return {}
    requests = {measure.id: dict(measure.parameters) for measure in asked}
    labels = (*representations, *rdms)
    prepared = in_one_type(list(representations.values()), device) if representations else []
    try:
        with full_precision():
            found = asked[0].rdm_runner(  # there is one family that takes them
                prepared, [rdm.to(device) for rdm in rdms.values()], requests, memory_bytes=memory_bytes
            )
            return {
                name: (values.cpu().numpy(), {pair: explain(why, labels) for pair, why in reasons.items()})
                for name, values, reasons in found
            }
    except ValueError as problem:
        raise UserError(str(problem)) from problem


def _refusal(measure: Measure, n_stimuli: int) -> str:
    """Return why so many stimuli cannot be compared, or nothing."""
    fewest = measure.fewest_stimuli.constant
    if n_stimuli < fewest:
        return f"{measure.id} needs at least {fewest} stimuli, got {n_stimuli}"
    return measure.refusal(n_stimuli, n_stimuli, n_stimuli) or ""


def _with_rdms(
    measure: Measure,
    values: np.ndarray,
    reasons: Reasons,
    labels: Sequence[str],
    given: tuple[np.ndarray, dict[tuple[int, int], str]] | None,
    n_stimuli: int,
) -> Result:
    """Return the values with rows and columns of the matrices."""
    import numpy as np

    n_networks, n_all = len(values), len(labels)
    whole = np.full((n_all, n_all), np.nan)
    whole[:n_networks, :n_networks] = values
    said = dict(reasons)
    if given is not None:
        whole[n_networks:] = given[0]
        whole[:, n_networks:] = given[0].T
    for row in range(n_networks, n_all):
        for column in range(n_all):
            if np.isnan(whole[row, column]):
                why = (
                    given[1][row - n_networks, column] if given else _why_not(measure, labels[row], n_stimuli)
                )
                said[labels[row], labels[column]] = said[labels[column], labels[row]] = why
    return measure, whole, said


def _why_not(measure: Measure, name: str, n_stimuli: int) -> str:
    if measure.rdm_runner is not None:
        return _refusal(measure, n_stimuli)
    return f"{name} is given by its dissimilarities alone, and {measure.id} compares {measure.compares}"
