"""Comparisons without the stimuli of which one of the two networks has no direction.

A stimulus whose features are all zero has no cosine with another, one whose features are all equal no
correlation; measures of these are undefined for a network with one such stimulus. Which measures need a
direction follows from what they ignore: who ignores the length of a stimulus's features divides by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Literal, TypeAlias

from rep_kedro.measures.compare import in_one_type
from rep_kedro.measures.measure import MIN_STIMULI, Invariance, Measure
from rep_kedro.measures.named import Reasons, compare_named

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

Flatness: TypeAlias = Literal["zero", "equal"]
FLAT_STIMULI = ("keep", "leave_out")  # what may be done with them


@dataclass(frozen=True)
class WithoutFlat:
    """Values of one measure without the stimuli that are flat for one of two networks.

    Attributes:
        measure: The measure.
        values: Shape (n, n), float64; NaN where undefined.
        reasons: Why, for each NaN, by the names of row and column.
        n_left_out: How many stimuli were left out of each comparison, shape (n, n), int64.
    """

    measure: Measure
    values: np.ndarray
    reasons: Reasons
    n_left_out: np.ndarray


def flatness_of(measure: Measure) -> Flatness | None:
    """Return which stimuli leave a measure undefined: features all zero, all equal, or none (None)."""
    if measure.averages_cosines:
        return "zero"
    if measure.compares != "features" or Invariance.ROW_SCALING not in measure.invariances:
        return None
    return "equal" if Invariance.ROW_TRANSLATION in measure.invariances else "zero"


def compare_without_flat(
    representations: Mapping[str, Tensor],
    measures: Iterable[Measure],
    *,
    memory_bytes: int,
    device: torch.device | str | None = None,
) -> Iterator[WithoutFlat]:
    """Compare every pair of representations on the stimuli that neither is flat for.

    Networks with the same flat stimuli are compared at once; k different sets of flat stimuli take
    k (k + 1) / 2 comparisons. Measures that flat stimuli do not leave undefined keep all stimuli. Each pair
    has stimuli of its own, so that one network with many flat stimuli changes no value of two others.

    Args:
        representations: By name, shape (n_stimuli, n_features_i), row s for the same stimulus in all.
        measures: From the registry.
        memory_bytes: Working memory; changes speed, not the result.
        device: Where to compute; None computes where the representations are.

    Yields:
        Values, reasons and numbers of stimuli left out, grouped by which stimuli count as flat.

    Raises:
        UserError: If representations cannot be compared.
    """
    names = list(representations)
    compare_named(representations, [], memory_bytes=memory_bytes)  # refuses what cannot be compared
    tensors = dict(zip(names, in_one_type(list(representations.values()), device), strict=True))
    chosen = list(measures)
    kinds: tuple[Flatness | None, ...] = (None, "zero", "equal")
    return (
        comparison
        for kind in kinds
        if (group := [measure for measure in chosen if flatness_of(measure) == kind])
        for comparison in _compare_kind(tensors, group, kind, memory_bytes)
    )


def _compare_kind(
    representations: Mapping[str, Tensor],
    measures: Sequence[Measure],
    kind: Flatness | None,
    memory_bytes: int,
) -> list[WithoutFlat]:
    import numpy as np

    shape, names = (len(representations), len(representations)), list(representations)
    found = [WithoutFlat(m, np.full(shape, np.nan), {}, np.zeros(shape, dtype=np.int64)) for m in measures]
    by_id = {comparison.measure.id: comparison for comparison in found}
    groups = _group_by_flat(representations, kind)
    for (first, flat_first), (second, flat_second) in combinations_with_replacement(groups, 2):
        kept = ~(flat_first | flat_second)
        n_kept = int(kept.sum())
        members = list(dict.fromkeys([*first, *second]))
        pairs = {pair for a in first for b in second for pair in ((a, b), (b, a))}
        for comparison in found:
            for a, b in pairs:
                comparison.n_left_out[names.index(a), names.index(b)] = len(kept) - n_kept
        if n_kept < MIN_STIMULI:
            reason = f"only {n_kept} stimuli are flat for neither network, need at least {MIN_STIMULI}"
            for comparison in found:
                comparison.reasons.update(dict.fromkeys(pairs, reason))
            continue
        seen = {name: representations[name][kept] for name in members}
        for measure, values, reasons in compare_named(seen, measures, memory_bytes=memory_bytes):
            comparison = by_id[measure.id]
            for a, b in pairs:
                comparison.values[names.index(a), names.index(b)] = values[members.index(a), members.index(b)]
            comparison.reasons.update({pair: why for pair, why in reasons.items() if pair in pairs})
    return found


def _group_by_flat(
    representations: Mapping[str, Tensor], kind: Flatness | None
) -> list[tuple[list[str], Tensor]]:
    """Return names of representations with the same flat stimuli, and which these are."""
    from rep_kedro.kernels.similarity.flat_stimuli import find_flat

    groups: dict[bytes, tuple[list[str], Tensor]] = {}
    for name, x in representations.items():
        flat = x.new_zeros(len(x)).bool() if kind is None else find_flat(x, centred=kind == "equal")
        groups.setdefault(flat.cpu().numpy().tobytes(), ([], flat))[0].append(name)
    return list(groups.values())
