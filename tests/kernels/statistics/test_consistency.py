"""Consistency of model similarities across stimulus sets."""

import numpy as np
import pytest
import torch
from scipy import stats
from tests.reference import consistency as reference

from rep_kedro.kernels.statistics import correlation
from rep_kedro.kernels.statistics.consistency import mask_model_pairs, pairwise_consistency
from rep_kedro.kernels.statistics.correlation import COEFFICIENTS, average_ranks, correlate_rows

N_MODELS, N_SETS = 7, 4
GROUPS = [
    ((0, 1, 2, 3, 4, 5, 6),) * 2,
    ((0, 1, 2, 3), (2, 3, 4, 5, 6)),
    ((1,), (0, 1, 2, 3, 4)),
    ((0, 5, 6),) * 2,
]


def _draw_similarities(seed=0, n_sets=N_SETS, n_models=N_MODELS, decimals=None):
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(n_models, n_models, generator=generator, dtype=torch.float64)
    noise = torch.randn(n_sets, n_models, n_models, generator=generator, dtype=torch.float64)
    values = base + noise
    values = (values + values.mT) / 2
    return values if decimals is None else values.round(decimals=decimals)


def _mask(group, n_models=N_MODELS):
    members = [
        torch.zeros(n_models, dtype=torch.bool).index_fill(0, torch.tensor(side), True) for side in group
    ]
    return mask_model_pairs(*members)


def _masks():
    return torch.stack([_mask(group) for group in GROUPS])


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
@pytest.mark.parametrize("decimals", [None, 0], ids=["no ties", "many ties"])
@pytest.mark.parametrize("with_gaps", [False, True])
def test_every_group_and_stimulus_set_pair_agrees_with_the_definition(coefficient, decimals, with_gaps):
    similarities = _draw_similarities(decimals=decimals)
    if with_gaps:
        for stimulus_set, a, b in [(0, 1, 2), (0, 3, 6), (2, 0, 4), (2, 1, 2)]:
            similarities[stimulus_set, a, b] = similarities[stimulus_set, b, a] = torch.nan
    found = pairwise_consistency(similarities, _masks(), coefficients=[coefficient])
    assert set(found.coefficients) == {coefficient}
    for index, group in enumerate(GROUPS):
        pairs = reference.list_model_pairs(*group)
        expected, counts = reference.consistency(similarities.tolist(), pairs, coefficient)
        np.testing.assert_allclose(found.coefficients[coefficient][index], expected, rtol=0, atol=1e-13)
        np.testing.assert_array_equal(found.n_pairs[index], counts)
        np.testing.assert_array_equal(found.n_excluded[index], len(pairs) - counts)


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_coefficients_agree_with_scipy_and_are_symmetric(coefficient):
    similarities = _draw_similarities(3, decimals=1)
    found = pairwise_consistency(similarities, _masks()[:1]).coefficients[coefficient][0]
    assert torch.equal(found, found.T)
    assert found.diagonal().tolist() == pytest.approx([1.0] * N_SETS, abs=1e-14)
    upper = torch.ones(N_MODELS, N_MODELS, dtype=torch.bool).triu(1)
    peer = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}[coefficient]
    expected = peer(similarities[0][upper].numpy(), similarities[3][upper].numpy()).statistic
    assert found[0, 3].item() == pytest.approx(expected, abs=1e-13)


def test_hand_made_case_has_the_known_values():
    first = torch.tensor([[1.0, 0.1, 0.2, 0.3], [0.1, 1, 0.4, 0.5], [0.2, 0.4, 1, 0.6], [0.3, 0.5, 0.6, 1]])
    second = first.clone()
    second[2, 3] = second[3, 2] = 0.0  # ranks 1..6 against 2 3 4 5 6 1
    found = pairwise_consistency(torch.stack([first, second]), _mask(((0, 1, 2, 3),) * 2, 4)[None])
    assert found.n_pairs[0, 0, 1] == 6
    assert found.coefficients["spearman"][0, 0, 1].item() == pytest.approx(1 / 7, abs=1e-12)
    assert found.coefficients["kendall"][0, 0, 1].item() == pytest.approx(1 / 3, abs=1e-12)
    # in tenths: 55 - 6 * 3.5 * 2.5 = 2.5 over the sum of squares, 17.5 for both
    assert found.coefficients["pearson"][0, 0, 1].item() == pytest.approx(1 / 7, abs=1e-6)


def test_a_mask_of_both_halves_and_the_diagonal_means_the_same_pairs():
    similarities, masks = _draw_similarities(), _masks()
    full = masks | masks.mT | torch.eye(N_MODELS, dtype=torch.bool)
    once, twice = pairwise_consistency(similarities, masks), pairwise_consistency(similarities, full)
    assert torch.equal(once.n_pairs, twice.n_pairs)
    torch.testing.assert_close(
        once.coefficients["pearson"], twice.coefficients["pearson"], rtol=0, atol=0, equal_nan=True
    )


def test_two_model_pairs_or_none_are_undefined_with_a_reason():
    masks = torch.stack([_mask(((0,), (1, 2))), torch.zeros(N_MODELS, N_MODELS, dtype=torch.bool)])
    found = pairwise_consistency(_draw_similarities(), masks)
    assert all(values.isnan().all() for values in found.coefficients.values())
    assert found.n_pairs[:, 0, 1].tolist() == [2, 0]
    assert found.reason(0, 0, 1) == found.reason(1, 2, 2) == "fewer than 3 model pairs"


@pytest.mark.parametrize("with_gap", [False, True])
@pytest.mark.parametrize("constant", [0.0, 0.3, 1e-200])
def test_a_stimulus_set_without_variance_is_undefined_and_named(with_gap, constant):
    similarities = _draw_similarities()
    similarities[1] = constant
    if with_gap:
        similarities[3, 0, 1] = similarities[3, 1, 0] = torch.nan
    found = pairwise_consistency(similarities, _masks()[:1])
    for values in found.coefficients.values():
        assert values[0].isnan().nonzero().tolist() == [
            [0, 1],
            [1, 0],
            [1, 1],
            [1, 2],
            [1, 3],
            [2, 1],
            [3, 1],
        ]
    assert found.reason(0, 1, 2) == "similarities do not vary on the first stimulus set"
    assert found.reason(0, 2, 1) == "similarities do not vary on the second stimulus set"
    assert found.reason(0, 1, 1) == "similarities vary on neither stimulus set"
    assert found.reason(0, 0, 2) == ""


def test_rounding_noise_about_a_constant_is_not_variance():
    similarities = _draw_similarities()
    noise = _draw_similarities(1)[0]
    similarities[0] = 0.1 + 1e-16 * noise
    found = pairwise_consistency(similarities, _masks()[:1])
    assert found.reason(0, 0, 1) == "similarities do not vary on the first stimulus set"


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1e150])
def test_scale_and_shift_do_not_change_the_coefficients(scale):
    similarities = _draw_similarities()
    moved = similarities.clone()
    moved[0] = (moved[0] + 5) * scale
    before, after = (pairwise_consistency(s, _masks()).coefficients for s in (similarities, moved))
    for name in COEFFICIENTS:
        torch.testing.assert_close(before[name], after[name], rtol=0, atol=1e-12)


def test_a_monotone_change_keeps_the_rank_coefficients():
    similarities = _draw_similarities()
    changed = similarities.clone()
    changed[2] = changed[2].exp()
    before, after = (pairwise_consistency(s, _masks()).coefficients for s in (similarities, changed))
    for name in ("spearman", "kendall"):
        torch.testing.assert_close(before[name], after[name], rtol=0, atol=1e-13)
    assert (before["pearson"] - after["pearson"]).abs().max() > 1e-3


def test_a_change_of_model_order_does_not_matter():
    similarities = _draw_similarities()
    order = torch.tensor([3, 1, 6, 0, 5, 2, 4])
    before = pairwise_consistency(similarities, _masks()).coefficients["kendall"]
    moved = similarities[:, order][:, :, order]
    masks = (_masks() | _masks().mT)[:, order][:, :, order]
    torch.testing.assert_close(
        before, pairwise_consistency(moved, masks).coefficients["kendall"], rtol=0, atol=1e-14
    )


def test_inputs_are_left_as_they_were():
    similarities, masks = _draw_similarities(), _masks()
    copies = similarities.clone(), masks.clone()
    pairwise_consistency(similarities, masks)
    assert torch.equal(similarities, copies[0])
    assert torch.equal(masks, copies[1])


def test_signs_in_small_blocks_give_the_same_tau(monkeypatch):
    rows, valid = _draw_similarities(2, n_models=20).flatten(1)[None], torch.ones(1, 400, dtype=torch.bool)
    before = correlate_rows(rows, valid, coefficient="kendall")
    monkeypatch.setattr(correlation, "SIGNS_PER_ROW", 1)
    assert torch.equal(correlate_rows(rows, valid, coefficient="kendall"), before)


def test_ranks_skip_missing_entries_and_average_ties():
    values = torch.tensor([[2.0, 9.0, 2.0, 1.0], [5.0, 5.0, 5.0, 0.0]])
    valid = torch.tensor([[True, False, True, True], [True, True, True, True]])
    expected = torch.tensor([[2.5, torch.nan, 2.5, 1.0], [3.0, 3.0, 3.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(average_ranks(values, valid), expected, equal_nan=True)
    np.testing.assert_array_equal(average_ranks(values), stats.rankdata(values.numpy(), axis=1))


def test_impossible_input_is_refused_with_what_is_wrong():
    similarities, masks = _draw_similarities(), _masks()
    with pytest.raises(ValueError, match=r"similarities must have shape .* got \(7, 7\)"):
        pairwise_consistency(similarities[0], masks)
    with pytest.raises(
        ValueError, match=r"pair masks must be bool of shape \(n_groups, 7, 7\), got torch.int64"
    ):
        pairwise_consistency(similarities, masks.long())
    with pytest.raises(
        ValueError, match="unknown correlation coefficient 'tau'; known: pearson, spearman, kendall"
    ):
        pairwise_consistency(similarities, masks, coefficients=["tau"])
    one_sided = similarities.clone()
    one_sided[1, 2, 3] += 1
    with pytest.raises(ValueError, match="similarity matrix 1 is not symmetric"):
        pairwise_consistency(one_sided, masks)
    one_sided[1, 2, 3] = torch.nan
    with pytest.raises(ValueError, match="similarity matrix 1 is not symmetric"):
        pairwise_consistency(one_sided, masks)
    similarities[2, 0, 0] = torch.inf
    with pytest.raises(ValueError, match="similarity matrix 2 contains an infinite value"):
        pairwise_consistency(similarities, masks)
    with pytest.raises(
        ValueError, match=r"sets of models must be bool vectors, got torch.int64 and torch.bool"
    ):
        mask_model_pairs(torch.arange(3), torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="sets of models must have one length, got 2 and 3"):
        mask_model_pairs(torch.ones(2, dtype=torch.bool), torch.ones(3, dtype=torch.bool))
