"""Permutation test of consistency."""

import itertools

import numpy as np
import pytest
import torch
from tests.kernels.random_numbers import seeded
from tests.reference import inference as reference
from tests.reference.consistency import list_model_pairs

from rep_kedro.kernels.statistics import mantel
from rep_kedro.kernels.statistics.consistency import mask_model_pairs
from rep_kedro.kernels.statistics.mantel import list_strata, permute_consistency, permute_defined
from rep_kedro.kernels.statistics.resampling import draw_permutations_within

N_MODELS = 9


def _members(indices):
    return torch.zeros(N_MODELS, dtype=torch.bool).index_fill(0, torch.tensor(list(indices)), True)


def _draw_similarities(seed, shared=1.0, n_models=N_MODELS):
    generator = seeded(seed)
    values = torch.randn(3, n_models, n_models, generator=generator, dtype=torch.float64)
    values = values + shared * values[:1]
    return values + values.mT


@pytest.mark.parametrize("alternative", ["greater", "two-sided"])
@pytest.mark.parametrize("sides", [(range(9), range(9)), (range(4), range(4, 9)), (range(5), range(3, 9))])
def test_p_values_agree_with_permuted_matrices(alternative, sides):
    similarities = _draw_similarities(0)
    first, second = map(_members, sides)
    permutations = draw_permutations_within(list_strata(first, second), 60, generator=seeded(1))
    found = permute_consistency(
        similarities,
        mask_model_pairs(first, second),
        permutations,
        alternative=alternative,
    )
    for s, t in itertools.combinations(range(3), 2):
        observed, p_value = reference.mantel(
            *similarities[[s, t]].numpy(),
            list_model_pairs(*sides),
            permutations.tolist(),
            "pearson",
            two_sided=alternative == "two-sided",
        )
        assert found.statistic[s, t].item() == pytest.approx(observed, abs=1e-13)
        assert found.p_value[s, t].item() == pytest.approx(p_value, abs=0)
    assert torch.equal(found.p_value, found.p_value.T)


def test_all_permutations_of_four_models_give_the_exact_p_value():
    similarities = torch.zeros(2, 4, 4, dtype=torch.float64)
    similarities[:] = torch.tensor([[0.0, 6, 5, 4], [6, 0, 3, 2], [5, 3, 0, 1], [4, 2, 1, 0]])
    everything = torch.ones(4, dtype=torch.bool)
    orders = torch.tensor(list(itertools.permutations(range(4))))
    found = permute_consistency(similarities, mask_model_pairs(everything, everything), orders)
    # only the identity reaches a correlation of 1
    assert found.p_value[0, 1].item() == 2 / 25
    assert found.statistic[0, 1].item() == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    ("first", "second", "n_orders"), [(range(4), range(4), 24), (range(5), range(3, 6), 12)]
)
def test_few_models_have_exact_p_values(first, second, n_orders):
    members = _members(first), _members(second)
    similarities = _draw_similarities(0, shared=0.3)
    mask = mask_model_pairs(*members)
    found = permute_defined(similarities, *members, n_orders - 1, generator=seeded(), alternative="greater")
    strata = list_strata(*members).tolist()
    moved = [i for i, label in enumerate(strata) if label]
    reached = []
    for order in itertools.permutations(moved):
        places = list(range(len(strata)))
        for place, unit in zip(moved, order, strict=True):
            places[place] = unit
        if [strata[unit] for unit in places] == strata:
            rows = [similarities[0][mask], similarities[1][places][:, places][mask]]
            reached.append(np.corrcoef(rows)[0, 1] >= found.statistic[0, 1].item() - 1e-12)
    assert len(reached) == n_orders
    assert found.p_value[0, 1].item() == pytest.approx(np.mean(reached), abs=1e-15)
    drawn = permute_defined(similarities, *members, n_orders - 2, generator=seeded(), alternative="greater")
    assert (drawn.p_value[0, 1] * (n_orders - 1)).item() == pytest.approx(
        round((drawn.p_value[0, 1] * (n_orders - 1)).item())
    )


def test_permutations_in_small_blocks_are_the_same(monkeypatch):
    first = _members(range(9))
    permutations = draw_permutations_within(list_strata(first, first), 50, generator=seeded(1))
    arguments = _draw_similarities(0, 0.2), mask_model_pairs(first, first), permutations
    before = permute_consistency(*arguments)
    monkeypatch.setattr(mantel, "PERMUTED_ENTRIES", 1)
    assert torch.equal(before.p_value, permute_consistency(*arguments).p_value)


def test_independent_stimulus_sets_are_rejected_at_the_nominal_rate():
    """Type-I error where pairs are strongly dependent: each similarity is a sum of two model effects."""
    generator, n_trials, level = seeded(2), 400, 0.1
    mask = mask_model_pairs(_members(range(9)), _members(range(9)))
    p_values = []
    for _ in range(n_trials):
        effects = torch.randn(2, N_MODELS, generator=generator, dtype=torch.float64)
        permutations = draw_permutations_within(torch.zeros(N_MODELS), 99, generator=generator)
        similarities = effects[:, :, None] + effects[:, None, :]
        p_values.append(permute_consistency(similarities, mask, permutations).p_value[0, 1].item())
    rejected = np.mean(np.array(p_values) <= level)
    assert abs(rejected - level) < 3 * np.sqrt(level * (1 - level) / n_trials)
    assert abs(np.mean(p_values) - 0.505) < 3 * np.sqrt(1 / 12 / n_trials)


def test_a_true_relation_is_found():
    permutations = draw_permutations_within(torch.zeros(N_MODELS), 999, generator=seeded(3))
    mask = mask_model_pairs(_members(range(9)), _members(range(9)))
    assert permute_consistency(_draw_similarities(4, shared=3.0), mask, permutations).p_value[0, 1] <= 0.002


def test_missing_constant_and_too_few_similarities_are_undefined():
    permutations = draw_permutations_within(torch.zeros(N_MODELS), 20, generator=seeded(3))
    mask = mask_model_pairs(_members(range(9)), _members(range(9)))
    similarities = _draw_similarities(0)
    similarities[1] = 0.5
    similarities[2, 0, 3] = similarities[2, 3, 0] = torch.nan
    found = permute_consistency(similarities, mask, permutations)
    for values in (found.p_value, found.statistic):
        assert (~values.isnan()).nonzero().tolist() == [[0, 0]]
    first, second = _members([0]), _members([1, 2])
    permutations = draw_permutations_within(list_strata(first, second), 20, generator=seeded(3))
    found = permute_consistency(_draw_similarities(0), mask_model_pairs(first, second), permutations)
    assert found.p_value.isnan().all()


def test_models_without_similarities_are_left_out_of_the_sets_that_they_lack():
    similarities = _draw_similarities(0, 0.5)
    similarities[1, 8] = similarities[1, :, 8] = torch.nan
    similarities[2, 7] = similarities[2, :, 7] = torch.nan
    everyone = _members(range(9))
    found = permute_defined(similarities, everyone, everyone, 4000, generator=seeded())
    for s, t in itertools.combinations_with_replacement(range(3), 2):
        kept = torch.tensor(
            [m for m in range(9) if (m != 8 or 1 not in (s, t)) and (m != 7 or 2 not in (s, t))]
        )
        part = similarities[:, kept][:, :, kept][[s, t]]
        inside = torch.ones(len(kept), dtype=torch.bool)
        orders = draw_permutations_within(inside.long(), 4000, generator=seeded(5))
        expected = permute_consistency(part, mask_model_pairs(inside, inside), orders)
        assert found.statistic[s, t].item() == pytest.approx(expected.statistic[0, 1].item(), abs=1e-13)
        assert found.p_value[s, t].item() == pytest.approx(expected.p_value[0, 1].item(), abs=0.04)
    assert torch.equal(found.p_value, found.p_value.T)


def test_models_outside_of_the_group_and_undefined_models_change_nothing():
    first, second = _members([0, 1, 2, 3, 8]), _members([3, 4, 5, 6])
    whole = _draw_similarities(1, 0.5)
    whole[:, 7] = whole[:, :, 7] = torch.nan  # in neither set
    whole[:, 8] = whole[:, :, 8] = torch.nan
    found = permute_defined(whole, first, second, 50, generator=seeded())
    alone = permute_defined(whole[:, :7, :7], first[:7], second[:7], 50, generator=seeded())
    assert torch.equal(found.p_value, alone.p_value)
    assert not found.p_value.isnan().any()


def test_a_hole_between_defined_models_or_too_few_models_leave_no_test():
    similarities, everyone = _draw_similarities(1, 0.5), _members(range(9))
    similarities[1, 0, 3] = similarities[1, 3, 0] = torch.nan
    found = permute_defined(similarities, everyone, everyone, 20, generator=seeded())
    assert found.p_value.isnan().tolist() == [[s == 1 or t == 1 for t in range(3)] for s in range(3)]
    similarities[:, 2:] = similarities[:, :, 2:] = torch.nan
    assert permute_defined(similarities, everyone, everyone, 20, generator=seeded()).p_value.isnan().all()


def test_impossible_requests_are_refused_with_what_is_wrong():
    similarities, first, second = _draw_similarities(0), _members(range(4)), _members(range(4, 9))
    mask = mask_model_pairs(first, second)
    mixed = torch.arange(9).roll(1)[None]
    with pytest.raises(ValueError, match="permutation 0 leaves the group of model pairs; permute within"):
        permute_consistency(similarities, mask, mixed)
    with pytest.raises(ValueError, match=r"permutations must have shape \(n_permutations, 9\), got \(1, 8\)"):
        permute_consistency(similarities, mask, mixed[:, :8])
    with pytest.raises(ValueError, match="unknown alternative 'less'; known: greater, two-sided"):
        permute_consistency(similarities, mask, mixed, alternative="less")
