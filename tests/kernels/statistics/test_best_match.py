"""Best matches: against loops over pairs, permutations and resamples."""

from math import ceil

import numpy as np
import pytest
import torch

from rep_kedro.kernels.statistics.best_match import Certainty, PairValues, match_groups

GROUPS = torch.tensor([0, 0, 1, 1, 1, 2])
N_PERMUTATIONS, N_BOOTSTRAP = 39, 50
CERTAINTY = Certainty(confidence=0.9, level=0.1, largest=1.0)
TESTS_OF_ROWS = [(i, g) for i in range(6) for g in range(3) if GROUPS[i] != g]
TESTS_OF_GROUPS = [(0, 1), (0, 2), (1, 2)]


def _draw(n_draws, seed, scale):
    drawn = scale * torch.randn(n_draws, 6, 6, generator=torch.Generator().manual_seed(seed))
    return ((drawn + drawn.mT) / 2).double()


@pytest.fixture
def values():
    observed = _draw(1, 0, 0.4)[0].clamp(-0.9, 0.9)
    return PairValues(
        observed, _draw(N_PERMUTATIONS, 1, 0.3).clamp(-1, 1), observed + _draw(N_BOOTSTRAP, 2, 0.1)
    )


def _members(group):
    return [i for i in range(6) if GROUPS[i] == group]


def _pairs(kind, place):
    a, b = place
    return [(i, j) for i in ([a] if kind == "rows" else _members(a)) for j in _members(b)]


def _adjusted(top, null_top, tests):
    """Return maxT p-values, step down, one test after the other."""
    order, found, highest = sorted(tests, key=lambda t: -top[t]), {}, 0.0
    for rank, test in enumerate(order):
        rest = np.max([null_top[t] for t in order[rank:]], axis=0)
        highest = max(highest, (1 + (rest >= top[test]).sum()) / (N_PERMUTATIONS + 1))
        found[test] = highest
    return found


@pytest.mark.parametrize(("kind", "tests"), [("rows", TESTS_OF_ROWS), ("groups", TESTS_OF_GROUPS)])
def test_a_match_is_the_largest_of_its_pairs_and_set_against_the_largest_of_their_null(values, kind, tests):
    of_rows, of_groups = match_groups(values, GROUPS, CERTAINTY)
    found = of_rows if kind == "rows" else of_groups
    top, null_top = {}, {}
    for place in tests:
        pairs = _pairs(kind, place)
        best = max(pairs, key=lambda pair: values.observed[pair].item())
        top[place] = values.observed[best].item()
        null_top[place] = np.array([max(null[pair].item() for pair in pairs) for null in values.null])
        assert (found.row[place].item(), found.column[place].item()) == best
        assert found.similarity[place].item() == top[place]
        assert found.n_compared[place].item() == len(pairs)
        assert found.p_value[place].item() == pytest.approx(
            (1 + (null_top[place] >= top[place]).sum()) / (N_PERMUTATIONS + 1)
        )
        threshold = np.sort([*null_top[place], top[place]])[ceil(0.9 * 40) - 1]
        assert found.threshold[place].item() == pytest.approx(threshold)
        above = max(0.0, (top[place] - threshold) / (1 - threshold))
        assert found.calibrated[place].item() == pytest.approx(above)
        own = values.replicates[:, *best].numpy()
        assert found.low[place].item() == pytest.approx(np.quantile(own, 0.05))
        assert found.high[place].item() == pytest.approx(np.quantile(own, 0.95))
        agree = [max(pairs, key=lambda pair: one[pair].item()) == best for one in values.replicates]
        assert found.support[place].item() == pytest.approx(np.mean(agree))
    expected = _adjusted(top, null_top, tests)
    for place in tests:
        assert found.p_adjusted[place].item() == pytest.approx(expected[place])


def test_pairs_of_groups_have_their_p_value_in_both_places_and_none_with_themselves(values):
    of_rows, of_groups = match_groups(values, GROUPS, CERTAINTY)
    torch.testing.assert_close(of_groups.p_adjusted, of_groups.p_adjusted.T, equal_nan=True)
    assert of_groups.p_adjusted.isfinite().sum() == 6
    for name in ("similarity", "low", "high", "support", "p_value", "p_adjusted", "threshold", "calibrated"):
        assert getattr(of_groups, name).diagonal().isnan().all()
        assert getattr(of_rows, name)[torch.arange(6), GROUPS].isnan().all()
    assert (of_groups.row.diagonal() == -1).all()
    assert (of_rows.column[torch.arange(6), GROUPS] == -1).all()


def test_an_undefined_representation_takes_no_part_and_changes_nothing_else(values):
    keep = torch.tensor([0, 2, 3, 4, 5])
    blind = values.map(lambda x: x.index_fill(-1, torch.tensor([1]), torch.nan))
    blind = blind.map(lambda x: x.index_fill(-2, torch.tensor([1]), torch.nan))
    rows, groups = match_groups(blind, GROUPS, CERTAINTY)
    kept = values.map(lambda x: x[..., keep, :][..., keep])
    rows_alone, groups_alone = match_groups(kept, GROUPS[keep], CERTAINTY)
    assert rows.similarity[1].isnan().all()
    assert (rows.n_compared[1] == 0).all()
    for name in ("similarity", "p_value", "p_adjusted", "low", "support", "n_compared"):
        torch.testing.assert_close(
            getattr(rows, name)[keep], getattr(rows_alone, name), equal_nan=True, rtol=0, atol=0
        )
        torch.testing.assert_close(
            getattr(groups, name), getattr(groups_alone, name), equal_nan=True, rtol=0, atol=0
        )


def test_without_draws_there_are_matches_alone(values):
    nothing = values.null[:0]
    rows, groups = match_groups(PairValues(values.observed, nothing, nothing), GROUPS, CERTAINTY)
    whole, _ = match_groups(values, GROUPS, CERTAINTY)
    torch.testing.assert_close(rows.similarity, whole.similarity, equal_nan=True)
    assert torch.equal(rows.column, whole.column)
    for found in (rows, groups):
        for name in ("low", "high", "support", "p_value", "p_adjusted", "threshold", "calibrated"):
            assert getattr(found, name).isnan().all()


def test_an_interval_needs_nine_tenths_of_the_resamples(values):
    few = values.replicates.clone()
    few[:6] = torch.nan
    rows, _ = match_groups(PairValues(values.observed, values.null, few), GROUPS, CERTAINTY)
    assert rows.low.isnan().all()
    assert rows.support.isnan().all()
    few[:5] = values.replicates[:5]
    rows, _ = match_groups(PairValues(values.observed, values.null, few), GROUPS, CERTAINTY)
    assert rows.low.isfinite().sum() == len(TESTS_OF_ROWS)
    assert (rows.support <= 1).sum() == len(TESTS_OF_ROWS)


def test_a_group_of_unrelated_representations_is_rarely_found_to_share_one():
    """The largest of 6 x 6 similarities is large; against the largest of its null it is not."""
    generator = torch.Generator().manual_seed(0)
    groups, p_values = torch.tensor([0] * 6 + [1] * 6), []
    for _ in range(100):
        x = torch.randn(20, 12, generator=generator, dtype=torch.float64)
        x = x - x.mean(dim=0)
        x = x / x.norm(dim=0)
        orders = [torch.randperm(20, generator=generator) for _ in range(19)]
        blocks = [x[:, :6].T @ x[order][:, 6:] for order in [torch.arange(20), *orders]]
        whole = torch.zeros(20, 12, 12, dtype=torch.float64)
        whole[:, :6, 6:] = torch.stack(blocks)
        whole = whole + whole.mT
        values = PairValues(whole[0], whole[1:], whole[:0])
        p_values.append(match_groups(values, groups, Certainty())[1].p_value[0, 1].item())
    assert 1 <= sum(p <= 0.05 for p in p_values) <= 12
    assert 0.4 < np.mean(p_values) < 0.65
