"""Pairing of single units, against all permutations and against a plain transport programme."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy import optimize
from tests.kernels.in_words import in_words
from tests.reference import matching as reference

from rep_kedro.kernels.similarity import transport
from rep_kedro.kernels.similarity.matching import MATCHES, compare_units
from rep_kedro.kernels.similarity.transport import transport_mass, transport_part

PARAMETERS = {statistic: {"mass": 0.7} if "partial" in statistic else {} for statistic in MATCHES}


def draw_related(widths=(4, 6, 4, 5), n_stimuli=25, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n_stimuli, 3))
    return [shared @ rng.standard_normal((3, d)) + rng.standard_normal((n_stimuli, d)) + 3 for d in widths]


def compare(representations, statistic):
    tensors = [torch.as_tensor(x) for x in representations]
    request = {"statistic": statistic, **PARAMETERS[statistic]}
    ((_, values, reasons),) = compare_units(tensors, {"it": request}, memory_bytes=2**20)
    return values, in_words(reasons)


@pytest.mark.parametrize("statistic", sorted(MATCHES))
def test_every_entry_equals_the_definition(statistic):
    models = draw_related()
    values, reasons = compare(models, statistic)
    assert not reasons
    define = partial(getattr(reference, statistic), **PARAMETERS[statistic])
    expected = [[define(x, y) for y in models] for x in models]
    np.testing.assert_allclose(values, expected, atol=1e-7)
    off_diagonal = ~np.eye(len(models), dtype=bool)
    np.testing.assert_allclose(values.numpy()[off_diagonal], np.array(expected)[off_diagonal], atol=1e-12)
    assert torch.equal(values, values.T)


@pytest.mark.parametrize("shape", [(6, 9), (4, 10), (12, 7), (7, 12), (1, 5), (5, 1), (8, 16), (30, 31)])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e6])
def test_repeated_units_and_linear_programmes_find_the_same_optimum(shape, scale):
    gains = np.random.default_rng(0).standard_normal(shape) * scale
    by_pairs = transport.pair_repeated(gains)
    assert transport_mass(gains) == pytest.approx(by_pairs, rel=1e-12, abs=1e-13 * scale)
    assert scale * transport._generate_routes(gains / scale) == pytest.approx(by_pairs, abs=1e-12 * scale)


@pytest.mark.parametrize("first", [1, 2, 8])
@pytest.mark.parametrize("seed", range(4))
def test_the_routes_to_begin_with_do_not_decide_the_optimum(monkeypatch, first, seed):
    generator = np.random.default_rng(seed)
    gains = np.outer(generator.standard_normal(20), generator.standard_normal(33))  # best routes mislead most
    monkeypatch.setattr(transport, "FIRST_ROUTES", first)
    monkeypatch.setattr(transport, "ADDED_ROUTES", 1)
    assert transport_mass(gains) == pytest.approx(transport.pair_repeated(gains), abs=1e-12)


def test_gains_with_many_ties_and_without_any_have_their_optimum():
    ties = np.random.default_rng(0).integers(0, 3, (20, 33)).astype(float)
    assert transport_mass(ties) == pytest.approx(transport.pair_repeated(ties), abs=1e-12)
    assert transport_mass(np.full((4, 7), 0.5)) == pytest.approx(0.5, abs=1e-15)
    assert transport_mass(np.zeros((4, 7))) == 0
    smooth = np.cos(np.arange(12)[:, None] / 3 - np.arange(17) / 5)
    assert transport_mass(smooth) == pytest.approx(transport.pair_repeated(smooth), abs=1e-12)


def test_a_programme_that_the_solver_gives_up_is_an_error(monkeypatch):
    monkeypatch.setattr(transport, "MAX_ROUNDS", 0)
    with pytest.raises(RuntimeError, match="transport of 4 to 7 units took over 0 rounds"):
        transport_mass(np.eye(4, 7))


def test_hundreds_of_units_of_unequal_number_are_matched_by_small_programmes(monkeypatch):
    generator = np.random.default_rng(0)
    shared = generator.standard_normal((200, 9))
    first, second = (
        shared @ generator.standard_normal((9, d)) + generator.standard_normal((200, d)) for d in (127, 256)
    )
    sizes = []
    solve = optimize.linprog
    monkeypatch.setattr(optimize, "linprog", lambda c, **given: (sizes.append(len(c)), solve(c, **given))[1])
    values, reasons = compare([first, second], "soft_match")
    assert not reasons
    assert 0 < values[0, 1] < 1.4
    assert sizes
    assert max(sizes) < 127 * 256 / 4  # of all routes; the whole programme took minutes


@pytest.mark.parametrize("first", [1, 8])
@pytest.mark.parametrize("mass", [0.3, 0.75, 1.0])
def test_part_of_the_mass_is_moved_at_the_cost_of_the_whole_programme(monkeypatch, mass, first):
    generator = np.random.default_rng(0)
    costs = 1 + np.tanh(np.outer(generator.standard_normal(20), generator.standard_normal(33)))
    n_rows, n_columns = costs.shape
    rooms = [1 / n_rows] * n_rows + [1 / n_columns] * n_columns
    ends = np.vstack([np.kron(np.eye(n_rows), np.ones(n_columns)), np.tile(np.eye(n_columns), n_rows)])
    whole = np.ones((1, costs.size))
    expected = optimize.linprog(costs.ravel(), A_ub=ends, b_ub=rooms, A_eq=whole, b_eq=[mass])
    monkeypatch.setattr(transport, "FIRST_ROUTES", first)
    monkeypatch.setattr(transport, "ADDED_ROUTES", first)
    assert transport_part(costs, mass) == pytest.approx(expected.fun, abs=1e-9)


def test_part_of_the_mass_is_what_is_best_matched():
    costs = np.full((4, 5), 1.5)
    costs[0, 0] = costs[1, 1] = 0.1
    assert transport_part(costs, 0.4) == pytest.approx(0.04)  # two fifths of the columns hold no more
    assert transport_part(costs, 0.5) == pytest.approx(0.04 + 0.15)
    with pytest.raises(ValueError, match=r"mass of partial transport must be above 0 and up to 1, got 1\.2"):
        transport_part(costs, 1.2)


def test_all_of_the_mass_is_soft_matching():
    x, y, *_ = draw_related()
    request = {"statistic": "partial_soft_match", "mass": 1.0}
    tensors = [torch.as_tensor(x), torch.as_tensor(y)]
    ((_, values, _),) = compare_units(tensors, {"it": request}, memory_bytes=2**20)
    torch.testing.assert_close(values, compare([x, y], "soft_match")[0], rtol=0, atol=1e-7)


def test_units_of_noise_do_not_hide_the_units_in_common():
    x = draw_related()[0]
    noise = np.random.default_rng(9).standard_normal((2, 25, 2))
    first, second = np.hstack([x, noise[0]]), np.hstack([noise[1], x])
    assert compare([first, second], "soft_match")[0][0, 1].item() > 0.5
    request = {"statistic": "partial_soft_match", "mass": 4 / 6}
    tensors = [torch.as_tensor(first), torch.as_tensor(second)]
    ((_, values, _),) = compare_units(tensors, {"it": request}, memory_bytes=2**20)
    assert values[0, 1].item() == pytest.approx(0, abs=1e-7)


def test_the_most_similar_units_are_those_of_released_code():
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((60, 6))
    pair = [shared @ rng.standard_normal((6, 30)) + 0.5 * rng.standard_normal((60, 30)) for _ in range(2)]
    found = compare(pair, "soft_correlation_match")[0][0, 1].item()
    assert found == pytest.approx(0.7450848313, abs=1e-9)  # of the ReSi benchmark


def test_a_shuffled_and_rescaled_model_is_found_again():
    x = draw_related()[0]
    changed = (x * [1.0, 20.0, 0.1, 3.0] - 7)[:, [2, 0, 3, 1]]
    assert compare([x, changed], "permutation_match")[0][0, 1].item() == pytest.approx(1, abs=1e-12)
    assert compare([x, changed], "soft_match")[0][0, 1].item() == pytest.approx(0, abs=1e-7)
    assert compare([x, 5 * x[:, ::-1] + 1], "permutation_procrustes")[0][0, 1].item() == pytest.approx(
        0, abs=1e-7
    )
    assert compare([x, changed], "permutation_procrustes")[0][0, 1].item() > 0.5


def test_doubling_every_unit_leaves_the_soft_match_alone():
    x, y, *_ = draw_related()
    values, _ = compare([x, np.hstack([x, x]), y], "soft_match")
    assert values[0, 1].item() == pytest.approx(0, abs=1e-7)
    assert values[0, 2].item() == pytest.approx(values[1, 2].item(), abs=1e-12)


def test_soft_matching_obeys_the_triangle_inequality():
    distance, _ = compare(draw_related(widths=(2, 3, 4, 6, 3), seed=2), "soft_match")
    assert (distance <= (distance[:, :, None] + distance[None]).amin(dim=1) + 1e-7).all()


@pytest.mark.parametrize("statistic", sorted(MATCHES))
def test_idle_units_are_left_out_and_models_of_idle_units_have_a_reason(statistic):
    x, y, *_ = draw_related()
    idle = np.full((25, 3), 0.1)
    expected, _ = compare([x, y], statistic)
    values, reasons = compare([np.hstack([idle, x]), y, idle], statistic)
    torch.testing.assert_close(values[:2, :2], expected, rtol=1e-12, atol=1e-12)
    assert set(reasons) == {(0, 2), (1, 2), (2, 0), (2, 1), (2, 2)}
    assert values[:, 2].isnan().all()
    assert reasons[0, 2] == "model 2: it has no unit that varies over stimuli"


@pytest.mark.parametrize("factor", [1e-200, 1e-3, 1e200])
@pytest.mark.parametrize("statistic", sorted(MATCHES))
def test_very_small_and_very_large_features_make_no_difference(statistic, factor):
    x, y, *_ = draw_related()
    torch.testing.assert_close(compare([factor * x, y], statistic)[0], compare([x, y], statistic)[0])
