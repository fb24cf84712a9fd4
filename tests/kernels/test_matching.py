"""Pairing of single units, against all permutations and against a plain transport programme."""

import numpy as np
import pytest
import torch
from tests.reference import matching as reference

from rep_kedro.kernels import matching
from rep_kedro.kernels.matching import MATCHES, compare_units, transport_mass


def draw_related(widths=(4, 6, 4, 5), n_stimuli=25, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n_stimuli, 3))
    return [shared @ rng.standard_normal((3, d)) + rng.standard_normal((n_stimuli, d)) + 3 for d in widths]


def compare(representations, statistic):
    tensors = [torch.as_tensor(x) for x in representations]
    ((_, values, reasons),) = compare_units(tensors, {"it": {"statistic": statistic}}, memory_bytes=2**20)
    return values, reasons


@pytest.mark.parametrize("statistic", sorted(MATCHES))
def test_every_entry_equals_the_definition(statistic):
    models = draw_related()
    values, reasons = compare(models, statistic)
    assert not reasons
    expected = [[getattr(reference, statistic)(x, y) for y in models] for x in models]
    np.testing.assert_allclose(values, expected, atol=1e-7)
    off_diagonal = ~np.eye(len(models), dtype=bool)
    np.testing.assert_allclose(values.numpy()[off_diagonal], np.array(expected)[off_diagonal], atol=1e-12)
    assert torch.equal(values, values.T)


def test_repeated_units_and_linear_programme_find_the_same_optimum(monkeypatch):
    gains = np.random.default_rng(0).standard_normal((6, 9))
    by_pairs = transport_mass(gains)
    monkeypatch.setattr(matching, "MAX_REPEATED_UNITS", 1)
    assert transport_mass(gains) == pytest.approx(by_pairs, abs=1e-12)


def test_programmes_beyond_reach_have_a_reason(monkeypatch):
    monkeypatch.setattr(matching, "MAX_REPEATED_UNITS", 5)
    monkeypatch.setattr(matching, "MAX_PROGRAMME_SIZE", 20)
    values, reasons = compare(draw_related(), "soft_match")
    assert reasons[0, 1].startswith("soft matching of 4 with 6 units is a linear programme of 24 unknowns")
    assert values.isnan()[0].tolist() == [False, True, False, False]


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
    assert reasons[0, 2] == "one of the models has no unit that tells stimuli apart"


@pytest.mark.parametrize("factor", [1e-200, 1e-3, 1e200])
@pytest.mark.parametrize("statistic", sorted(MATCHES))
def test_very_small_and_very_large_features_make_no_difference(statistic, factor):
    x, y, *_ = draw_related()
    torch.testing.assert_close(compare([factor * x, y], statistic)[0], compare([x, y], statistic)[0])


def test_requests_that_cannot_be_met_are_refused():
    models = [torch.tensor(x) for x in draw_related()]
    with pytest.raises(ValueError, match="unknown statistic 'softmatch'; did you mean soft_match"):
        compare_units(models, {"it": {"statistic": "softmatch"}}, memory_bytes=1)
    with pytest.raises(ValueError, match=r"gives soft_match the parameters \['k'\], it takes none"):
        compare_units(models, {"it": {"statistic": "soft_match", "k": 1}}, memory_bytes=1)
