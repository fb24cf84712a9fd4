"""Winners are declared where there is one, and almost never where there is none."""

import pytest
import torch

from rep_kedro.kernels.statistics.headlines import find_leader, resample_kinds, resample_units

N_RUNS = 400
MOST_FALSE = 0.05 + 2 * (0.05 * 0.95 / N_RUNS) ** 0.5  # two standard errors above the level


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _share_decided(effects: torch.Tensor, n_units: int, n_runs: int = N_RUNS) -> tuple[float, float]:
    """Return how often a winner is declared, and how often it is the first candidate."""
    decided, right = 0, 0
    for seed in range(n_runs):
        generator = _generator(seed)
        unit = torch.randn(n_units, 1, generator=generator, dtype=torch.float64)
        noise = torch.randn(n_units, len(effects), generator=generator, dtype=torch.float64)
        means, replicates = resample_units(unit + noise + effects, n_replicates=200, generator=generator)
        leader = find_leader(means, replicates, [n_units] * len(effects), share_units=True)
        decided += not leader.rivals
        right += not leader.rivals and leader.index == 0
    return decided / n_runs, right / n_runs


@pytest.mark.parametrize(("n_candidates", "n_units"), [(2, 3), (10, 3), (3, 4), (10, 8), (2, 30), (10, 30)])
def test_of_equal_candidates_a_winner_is_declared_no_more_often_than_the_level(n_candidates, n_units):
    decided, _ = _share_decided(torch.zeros(n_candidates, dtype=torch.float64), n_units)
    assert decided <= MOST_FALSE


@pytest.mark.parametrize("n_units", [4, 12])
def test_of_two_best_that_tie_neither_is_declared_the_winner(n_units):
    effects = torch.tensor([20.0, 20.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    decided, _ = _share_decided(effects, n_units)
    assert decided <= MOST_FALSE


@pytest.mark.parametrize(
    ("n_units", "spreads"),
    [
        (3, (1.0, 1.0)),
        (3, (1.0, 0.1)),
        (3, (1.0, 1.0, 0.1, 3.0)),
        (4, (1.0, 0.1)),
        (10, (1.0, 1.0, 0.1, 3.0)),
    ],
)
def test_of_groups_with_units_of_their_own_a_false_winner_is_as_rare(n_units, spreads):
    decided = 0
    for seed in range(N_RUNS):
        generator = _generator(seed)
        parts = [
            resample_units(
                spread * torch.randn(n_units, 1, generator=generator, dtype=torch.float64),
                n_replicates=200,
                generator=generator,
            )
            for spread in spreads
        ]
        means = torch.cat([mean for mean, _ in parts])
        replicates = torch.cat([drawn for _, drawn in parts], dim=1)
        decided += not find_leader(means, replicates, [n_units] * len(spreads)).rivals
    assert decided / N_RUNS <= MOST_FALSE


@pytest.mark.parametrize("n_images", [10, 50])
def test_accuracies_of_few_images_that_are_equally_far_apart_on_both_sets_decide_nothing(n_images):
    decided = 0
    for seed in range(N_RUNS):
        generator = _generator(seed)
        right = torch.rand(2, 2, n_images, generator=generator, dtype=torch.float64) < 0.9
        means, replicates = resample_units(right.double().mean(dim=2), n_replicates=100, generator=generator)
        decided += not find_leader(means, replicates, [2, 2], share_units=True).rivals
    assert decided / N_RUNS <= MOST_FALSE
    same = torch.tensor([[0.9, 0.7], [0.8, 0.6]], dtype=torch.float64)
    found = find_leader(*resample_units(same, n_replicates=100, generator=_generator(0)), [2, 2])
    assert found.rivals == (1,)


def test_a_clear_winner_is_declared():
    decided, right = _share_decided(torch.tensor([6.0, 0.0, 0.0, 0.0], dtype=torch.float64), 8, 100)
    assert decided == right
    assert right > 0.95


def test_one_unit_or_undefined_replicates_decide_nothing():
    estimates = torch.tensor([5.0, 1.0])
    replicates = estimates + 1e-6 * torch.randn(100, 2, generator=_generator(0))
    assert find_leader(estimates, replicates, [9, 9]).rivals == ()
    assert find_leader(estimates, replicates, [9, 1]).rivals == (1,)
    replicates[:60, 1] = torch.nan
    assert find_leader(estimates, replicates, [9, 9]).rivals == (1,)


def test_a_lone_candidate_has_no_rivals():
    leader = find_leader(torch.tensor([0.3]), torch.full((10, 1), 0.3), [2])
    assert (leader.index, leader.rivals) == (0, ())


def test_estimates_that_are_undefined_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        find_leader(torch.tensor([0.3, torch.nan]), torch.zeros(10, 2), [2, 2])


def _kinds_of_pairs(n_per_kind: int, n_kinds: int) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    strata = torch.arange(n_kinds).repeat_interleave(n_per_kind)
    a, b = torch.triu_indices(n_kinds, n_kinds)
    masks = torch.stack(
        [
            ((strata[:, None] == i) & (strata == j)) | ((strata[:, None] == j) & (strata == i))
            for i, j in zip(a, b, strict=True)
        ]
    ).triu(diagonal=1)
    return strata, masks, [n_per_kind] * len(a)


@pytest.mark.parametrize("spreads", [(1.0, 1.0, 1.0), (1.0, 0.2, 3.0)])
@pytest.mark.parametrize(("n_per_kind", "n_sets"), [(4, 3), (4, 1), (8, 5)])
def test_of_equal_kinds_of_pairs_a_winner_is_declared_no_more_often_than_the_level(
    n_per_kind, n_sets, spreads
):
    """Values are sums of effects of both networks, of the set and of chance: pairs depend on each other."""
    strata, masks, n_units = _kinds_of_pairs(n_per_kind, 3)
    n, spread = len(strata), torch.tensor(spreads, dtype=torch.float64)[strata]
    decided = 0
    for seed in range(N_RUNS):
        generator = _generator(seed)

        def draw(*shape: int, generator: torch.Generator = generator) -> torch.Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        network = spread * (draw(1, n) + 0.5 * draw(n_sets, n))
        noise = 0.5 * draw(n_sets, n, n)
        values = network[:, :, None] + network[:, None, :] + noise + noise.mT + draw(n_sets, 1, 1)
        found = resample_kinds(values, masks, strata, n_replicates=200, generator=generator)
        decided += not find_leader(*found, n_units).rivals
    assert decided / N_RUNS <= MOST_FALSE


def test_means_of_kinds_are_those_of_their_pairs_and_leave_undefined_values_out():
    strata, masks, _ = _kinds_of_pairs(2, 2)
    values = torch.rand(3, 4, 4, generator=_generator(1), dtype=torch.float64)
    values = values + values.mT
    values[0, 0, 1] = values[0, 1, 0] = torch.nan
    means, replicates = resample_kinds(values, masks, strata, n_replicates=50, generator=_generator(0))
    assert means[0].item() == pytest.approx(values[1:, 0, 1].mean().item())
    assert means[1].item() == pytest.approx(values[:, :2, 2:].mean().item())
    assert replicates.shape == (50, 3)
    # two networks of one stratum: a draw that takes one of them twice has no pair of the kind
    assert replicates[:, 0].isnan().any()
