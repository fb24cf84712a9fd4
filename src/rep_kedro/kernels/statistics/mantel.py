"""Mantel-type permutation test of consistency: do models keep their similarities on another stimulus set?

Under the null hypothesis the models of one stimulus set are matched at random with those of the other. Names
are permuted, not model pairs, because pairs that share a model are dependent.
"""

from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import factorial, prod

import torch
from torch import Tensor

from rep_kedro.kernels.statistics.consistency import MIN_MODEL_PAIRS, flatten_model_pairs, mask_model_pairs
from rep_kedro.kernels.statistics.correlation import correlate_rows
from rep_kedro.kernels.statistics.resampling import draw_permutations_within, list_permutations_within

TIE_TOLERANCE = 1e-12  # a permuted correlation this close below the observed one differs by rounding only
ALTERNATIVES = ("greater", "two-sided")
NO_TEST = "no p-value: a similarity is undefined, so network labels cannot be permuted"
PERMUTED_ENTRIES = 2**19  # permutations * stimulus sets * model pairs at once: as many as caches hold


@dataclass(frozen=True)
class MantelTest:
    """Result of a permutation test of names; all of shape (n_sets, n_sets), symmetric.

    Attributes:
        statistic: Consistency, in [-1, 1].
        p_value: In [p_smallest, 1].
        p_smallest: The smallest p-value that these permutations allow: 1 / (n_permutations + 1), and more
            where some of them leave every pair of models in its place, as with few models.
    """

    statistic: Tensor
    p_value: Tensor
    p_smallest: Tensor


def list_strata(members_a: Tensor, members_b: Tensor) -> Tensor:
    """Label models by the sets they are in, so that permutations within labels keep the group of model pairs.

    Args:
        members_a: Which models are in the first set, bool, shape (n_models,).
        members_b: Which models are in the second set, same shape.

    Returns:
        Labels, int64, shape (n_models,): 0 in neither, 1 first only, 2 second only, 3 both.
    """
    return members_a.long() + 2 * members_b.long()


def count_orders(members_a: Tensor, members_b: Tensor) -> int:
    """Return how many permutations of the models keep the group of model pairs of two sets.

    Args:
        members_a: Which models are in the first set, bool, shape (n_models,).
        members_b: Which models are in the second set, same shape.

    Example:
        >>> everyone = torch.ones(4, dtype=torch.bool)
        >>> count_orders(everyone, everyone)
        24
    """
    sizes = list_strata(members_a, members_b).bincount(minlength=4)[1:]
    return prod(factorial(size) for size in sizes.tolist())


def permute_consistency(
    similarities: Tensor,
    pair_mask: Tensor,
    permutations: Tensor,
    *,
    alternative: str = "greater",
) -> MantelTest:
    """Test whether the similarities of a group of model pairs go together on each two stimulus sets.

    Where a similarity is missing (NaN) on a stimulus set, its statistic and p-values are NaN: names cannot be
    permuted around a hole. ``permute_defined`` leaves models out instead. With few models the smallest
    p-value is coarse: n! permutations.

    Args:
        similarities: One similarity matrix per stimulus set, shape (n_sets, n_models, n_models), symmetric.
        pair_mask: Which model pairs form the group, bool, shape (n_models, n_models).
        permutations: Permutations of models, int64, shape (n_permutations, n_models), within ``list_strata``
            of the two sets of models that are compared (``draw_permutations_within``).
        alternative: "greater" (positive consistency), "two-sided" (larger in absolute value).

    Returns:
        Statistic, p = (1 + number of permutations at least as extreme) / (n_permutations + 1), and the
        smallest p that these permutations allow, each of shape (n_sets, n_sets).

    Raises:
        ValueError: If shapes do not fit, an option is unknown, or a permutation leads out of the group.

    Cost: n_permutations * n_sets^2 * n_pairs operations; the rows are centred once.

    Source: Mantel 1967, Cancer Res 27:209; p-value with the observed one counted: Phipson & Smyth 2010,
        Stat Appl Genet Mol Biol 9:39.
    """
    if alternative not in ALTERNATIVES:
        raise ValueError(f"unknown alternative {alternative!r}; known: {', '.join(ALTERNATIVES)}")
    rows, members = flatten_model_pairs(similarities, pair_mask[None])
    places = _permute_pairs(members[0], permutations.to(rows.device), similarities.shape[1])
    rows = rows[:, members[0]]
    complete = ~rows.isnan().any(dim=1)
    rows = torch.where(complete[:, None], rows, 0.0)
    statistic = correlate_rows(rows[None], torch.ones_like(rows[:1], dtype=torch.bool))[0]
    undefined = statistic.isnan() | ~(complete[:, None] & complete[None, :])
    if rows.shape[1] < MIN_MODEL_PAIRS:
        undefined = torch.ones_like(undefined)

    unit = rows - rows.mean(dim=1, keepdim=True)
    unit = unit / unit.abs().amax(dim=1, keepdim=True)
    unit = unit / unit.norm(dim=1, keepdim=True)
    reached = _count_reached(unit, places, statistic, two_sided=alternative == "two-sided").triu()
    reached = reached + reached.triu(diagonal=1).T
    in_place = (places == torch.arange(places.shape[1], device=places.device)).all(dim=1)
    smallest = torch.full_like(reached, int(in_place.sum()))
    return MantelTest(
        *(
            torch.where(undefined, torch.nan, values)
            for values in (
                statistic,
                *((1 + count) / (len(permutations) + 1) for count in (reached, smallest)),
            )
        )
    )


def permute_defined(
    similarities: Tensor,
    members_a: Tensor,
    members_b: Tensor,
    n_permutations: int,
    *,
    generator: torch.Generator,
    alternative: str = "greater",
) -> MantelTest:
    """Test as ``permute_consistency`` does, on each two stimulus sets with the models that both know.

    A model without any similarity to others of its group on one of two stimulus sets is left out of their
    test. Where a similarity is missing even so, the test is NaN (``NO_TEST``).

    Args:
        similarities: One similarity matrix per stimulus set, shape (n_sets, n_models, n_models), symmetric,
            NaN where missing.
        members_a: Which models are in the first set of models, bool, shape (n_models,).
        members_b: Which models are in the second, same shape; the same for the pairs within a set.
        n_permutations: How many permutations, within the two sets of models; where there are no more orders
            than these and the given one, all of them are taken once, and p is exact.
        generator: Draws them (CPU).
        alternative: As for ``permute_consistency``.

    Returns:
        Pearson's r and p-values, each of shape (n_sets, n_sets). Models outside of the group change nothing,
        nor do models without any similarity.

    Raises:
        ValueError: As for ``permute_consistency``.

    Cost: One batch for stimulus sets that lack the same pairs, one for each two such batches.
    """
    mask = mask_model_pairs(members_a, members_b)
    rows, members = flatten_model_pairs(similarities, mask[None])
    patterns, pattern_of = torch.unique(~rows[:, members[0]].isnan(), dim=0, return_inverse=True)
    n_sets, n_models = similarities.shape[:2]
    first, second = torch.triu_indices(n_models, n_models, offset=1, device=rows.device)[:, members[0]]
    found = MantelTest(*rows.new_full((3, n_sets, n_sets), torch.nan))
    for a, b in combinations_with_replacement(range(len(patterns)), 2):
        both = patterns[a] & patterns[b]
        is_known = torch.zeros(n_models, dtype=torch.bool, device=rows.device)
        is_known[first[both]] = is_known[second[both]] = True
        if both.sum() < MIN_MODEL_PAIRS or (is_known[first] & is_known[second] & ~both).any():
            continue
        models, sets = (
            is_known.nonzero().flatten(),
            ((pattern_of == a) | (pattern_of == b)).nonzero().flatten(),
        )
        test = permute_consistency(
            similarities[sets][:, models][:, :, models],
            mask[models][:, models],
            _choose_permutations(members_a[models], members_b[models], n_permutations, generator),
            alternative=alternative,
        )
        asked = (pattern_of[sets] == a)[:, None] & (pattern_of[sets] == b)
        of_first, of_second = (asked | asked.T).nonzero(as_tuple=True)
        for name in MantelTest.__dataclass_fields__:
            getattr(found, name)[sets[of_first], sets[of_second]] = getattr(test, name)[of_first, of_second]
    return found


def _choose_permutations(
    members_a: Tensor, members_b: Tensor, n_permutations: int, generator: torch.Generator
) -> Tensor:
    """Return all orders of the models but theirs, where these are few enough: p is exact. Else draw some."""
    strata = list_strata(members_a, members_b)
    if count_orders(members_a, members_b) - 1 <= n_permutations:
        return list_permutations_within(strata)[1:]
    return draw_permutations_within(strata, n_permutations, generator=generator)


def _count_reached(unit: Tensor, places: Tensor, observed: Tensor, *, two_sided: bool) -> Tensor:
    """Count permutations whose correlation is at least as extreme as observed, float64, (n_sets, n_sets)."""
    n_sets, n_pairs = unit.shape
    bar = ((observed.abs() if two_sided else observed) - TIE_TOLERANCE)[:, None, :]
    count = torch.zeros_like(observed)
    per_block = max(1, PERMUTED_ENTRIES // max(1, n_sets * n_pairs))
    by_pair = (
        unit.T.contiguous()
    )  # the similarities of a pair are contiguous: permuting them moves whole rows
    for block in torch.split(places, per_block):
        permuted = by_pair.index_select(0, block.T.flatten()).view(n_pairs, len(block) * n_sets)
        null = (unit @ permuted).view(n_sets, len(block), n_sets)
        count += ((null.abs() if two_sided else null) >= bar).sum(dim=1)
    return count


def _permute_pairs(member: Tensor, permutations: Tensor, n_models: int) -> Tensor:
    """Return where each pair of the group goes, as places within the group, (n_permutations, n_pairs)."""
    if permutations.ndim != 2 or permutations.shape[1] != n_models:
        raise ValueError(
            f"permutations must have shape (n_permutations, {n_models}), got {tuple(permutations.shape)}"
        )
    first, second = torch.triu_indices(n_models, n_models, offset=1, device=member.device)[:, member]
    place = torch.full((n_models, n_models), -1, dtype=torch.int64, device=member.device)
    place[first, second] = place[second, first] = torch.arange(len(first), device=member.device)
    places = place[permutations[:, first], permutations[:, second]]
    if (places < 0).any():
        bad = int((places < 0).any(dim=1).nonzero()[0])
        raise ValueError(
            f"permutation {bad} leaves the group of model pairs; permute within its sets of models"
        )
    return places
