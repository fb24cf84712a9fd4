"""Dissimilarity matrices (RDMs) that are given, compared with those of models and with each other.

An RDM of judgements or recordings need not be distances between any points (its negative half, centred, may
have negative eigenvalues), so no features replace it: its entries are compared themselves. What is compared
between models alone does not come here.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.concordance import concordance_surplus
from rep_kedro.kernels.similarity.rdm_ranks import level_ties
from rep_kedro.kernels.similarity.rsa import Parameters, prepare_for_rdm
from rep_kedro.kernels.similarity.squared_distances import squared_distance_tile
from rep_kedro.kernels.undefined import Reasons, Undefined

RELATIVE_ZERO = 1e-12  # a vector this small compared with what it was made from is rounding
NO_SPREAD, NO_SIZE = "all its dissimilarities are equal", "all its dissimilarities are zero"
MATRICES_AT_ONCE = 4  # beyond those that are held: an RDM, what is made of it, and ranks of it
FLOAT_BYTES = 8


class _Seen(NamedTuple):
    """An RDM as one comparison sees it.

    Attributes:
        vector: What is multiplied: entries, centred entries or centred ranks; for tau-a doubled ranks.
        why: Why the comparison is undefined for it, or empty.
    """

    vector: Tensor
    why: str = ""


def compare_given_rdms(
    representations: Sequence[Tensor],
    rdms: Sequence[Tensor],
    requests: Mapping[str, Parameters],
    *,
    memory_bytes: int,
) -> Iterator[tuple[str, Tensor, Reasons]]:
    """Compare given RDMs with the RDMs of models, and with each other, under RSA measures.

    Args:
        representations: One matrix for each model, shape (n_stimuli, n_features_i); may be none.
        rdms: Symmetric matrices, shape (n_stimuli, n_stimuli), any unit and sign; diagonals do not count.
            They are taken as they are, whatever kind of RDM a measure makes of features.
        requests: Parameters by name, as ``compare_rsa`` takes them.
        memory_bytes: Working memory.

    Yields:
        Name, similarities of shape (n_rdms, n_models + n_rdms), float64, and a reason for each NaN by its row
        and column.

    Raises:
        ValueError: If the memory does not suffice.

    Cost:
        For each model and kind of RDM, n_stimuli^2 (n_features + n_rdms) multiply-adds and, for ranks, one
        sorting; memory 8 n_stimuli^2 for each given RDM and comparison, and for four matrices more.

    Source:
        As ``compare_rsa``.
    """
    n = len(rdms[0])
    hows = list(dict.fromkeys(p["compare"] for p in requests.values()))
    needed = FLOAT_BYTES * n * n * (len(rdms) * len(hows) + MATRICES_AT_ONCE)
    if needed > memory_bytes:
        raise ValueError(
            f"{len(rdms)} dissimilarity matrices of {n} stimuli take {needed} bytes of memory, but"
            f" memory_bytes is {memory_bytes}; allow more memory or compare fewer stimuli"
        )
    held = {how: [_see(rdm.double(), how) for rdm in rdms] for how in hows}
    for kind in dict.fromkeys(p["rdm"] for p in requests.values()):
        asked = {name: p["compare"] for name, p in requests.items() if p["rdm"] == kind}
        seen: dict[str, list[list[float]]] = {name: [] for name in asked}
        flaws: dict[str, dict[int, str]] = {name: {} for name in asked}
        for place, x in enumerate(representations):
            matrix, flaw = _rdm_of(x, kind)
            for name, how in asked.items():
                other = _see(matrix, how, flaw)
                seen[name].append([_similarity(own, other, how) for own in held[how]])
                flaws[name] |= {place: other.why} if other.why else {}
        for name, how in asked.items():
            seen[name] += [[_similarity(own, other, how) for own in held[how]] for other in held[how]]
            places = range(len(representations), len(seen[name]))
            why = flaws[name] | {at: own.why for at, own in zip(places, held[how], strict=True) if own.why}
            values = torch.tensor(seen[name], dtype=torch.float64).T.contiguous()
            yield name, values, _reasons(why, places, len(seen[name]))


def _reasons(why: Mapping[int, str], rows: range, n_columns: int) -> Reasons:
    """Return the reasons of the rows of given RDMs, by the place in the row order and the column."""
    return {
        (row - rows.start, column): tuple(
            Undefined(why[at], at) for at in dict.fromkeys((row, column)) if at in why
        )
        for row in rows
        for column in range(n_columns)
        if row in why or column in why
    }


def _rdm_of(x: Tensor, kind: str) -> tuple[Tensor, str | None]:
    """Return a model's RDM but for a factor, (n_stimuli, n_stimuli) float64, and why it is undefined."""
    points = prepare_for_rdm(x, kind, dtype=torch.float64)
    everything = slice(0, len(x))
    squared = squared_distance_tile(points, everything, everything, points.features.new_empty(len(x), len(x)))
    return squared.sqrt_() if kind == "euclidean" else squared, points.flaw


def _see(matrix: Tensor, how: str, flaw: str | None = None) -> _Seen:
    """Return what a comparison makes of an RDM, shape (n_stimuli, n_stimuli), float64."""
    n = len(matrix)
    if flaw is not None:
        return _Seen(matrix.new_zeros(1), flaw)
    row, column = torch.triu_indices(n, n, offset=1, device=matrix.device)
    entries = matrix[row, column]
    size = entries.norm()
    if how == "whitened_cosine":
        whole = matrix.clone().fill_diagonal_(0)
        means = whole.mean(dim=0)
        vector = (whole - means - means[:, None] + means.mean()).flatten()
    elif how == "cosine":
        vector = entries
    elif how == "pearson":
        vector = entries - entries.mean()
    else:
        vector = _doubled_ranks(level_ties(entries))
        size = vector.new_ones(())
    why = "" if vector.norm() > RELATIVE_ZERO * size else NO_SIZE if "cosine" in how else NO_SPREAD
    return _Seen(vector, why)


def _doubled_ranks(entries: Tensor) -> Tensor:
    """Return twice the average rank less N + 1, float64, shape (N,)."""
    _, inverse, counts = torch.unique(entries, return_inverse=True, return_counts=True)
    last = counts.cumsum(0)
    doubled: Tensor = (2 * last - counts - len(entries)).double()
    return doubled[inverse]


def _similarity(a: _Seen, b: _Seen, how: str) -> float:
    if a.why or b.why:
        return torch.nan
    n_entries = len(a.vector)
    if how == "tau_a":
        return concordance_surplus(a.vector.int(), b.vector.int()) / (n_entries * (n_entries - 1) / 2)
    product = float(a.vector @ b.vector)
    if how == "rho_a":
        return 3 * product / (float(n_entries) ** 3 - n_entries)
    return product / float(a.vector.norm() * b.vector.norm())
