"""Descriptions of single models, against their definitions and values that one can work out by hand."""

import math

import numpy as np
import pytest
import torch
from tests.kernels.in_words import in_words
from tests.reference import descriptions as reference

from rep_kedro.kernels.similarity.descriptions import DESCRIPTIONS, compare_descriptions
from rep_kedro.kernels.similarity.heat_trace import describe_heat_trace

RELEASED = {  # values of the ReSi benchmark's released code, by description and scale of the features
    ("magnitude", 1.0): 0.1894158563,
    ("concentricity", 1.0): 0.0133415780,
    ("uniformity", 0.1): 0.2036789109,
    ("uniformity_of_directions", 1.0): 0.0164108639,  # of its uniformity, given stimuli of unit length
}


def draw_related(widths=(4, 6, 5), n_stimuli=25, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n_stimuli, 3))
    return [
        0.2 * (shared @ rng.standard_normal((3, d)) + rng.standard_normal((n_stimuli, d)) + 1) for d in widths
    ]


def compare(representations, description, memory_bytes=2**20):
    tensors = [torch.as_tensor(x) for x in representations]
    asked = {"it": {"description": description}}
    [(_, values, reasons)] = compare_descriptions(tensors, asked, memory_bytes=memory_bytes)
    return values, in_words(reasons)


@pytest.mark.parametrize("memory_bytes", [1, 2_000, 2**20])
@pytest.mark.parametrize("description", DESCRIPTIONS)
def test_every_entry_equals_the_definition_whatever_the_memory(description, memory_bytes):
    models = draw_related()
    values, reasons = compare(models, description, memory_bytes)
    assert not reasons
    describe = getattr(reference, description)
    expected = [[reference.difference(describe, x, y) for y in models] for x in models]
    np.testing.assert_allclose(values, expected, atol=1e-14)
    assert torch.equal(values, values.T)


@pytest.mark.parametrize(("description", "scale"), RELEASED)
def test_values_of_released_code_are_met(description, scale):
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((60, 6))
    pair = [shared @ rng.standard_normal((6, 30)) + 0.5 * rng.standard_normal((60, 30)) for _ in range(2)]
    values, _ = compare([scale * x for x in pair], description)
    assert values[0, 1].item() == pytest.approx(RELEASED[description, scale], abs=1e-9)


def test_descriptions_of_points_on_the_axes_are_those_one_works_out():
    cross = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    corner = torch.tensor([[3.0, 0.0], [0.0, 4.0], [3.0, 0.0], [0.0, 4.0]])
    # one pair of four is a copy of itself, two are at a squared distance of 2, one of 4
    of_cross = math.log((1 + 2 * math.exp(-4) + math.exp(-8)) / 4)
    assert compare([cross, corner], "magnitude")[0][0, 1] == pytest.approx(2.5)
    assert DESCRIPTIONS["concentricity"](corner, 1).item() == pytest.approx((0.6 + 0.8) / 2)
    assert DESCRIPTIONS["uniformity"](cross, 1).item() == pytest.approx(of_cross)
    assert DESCRIPTIONS["uniformity_of_directions"](7 * cross, 1).item() == pytest.approx(of_cross)
    assert DESCRIPTIONS["uniformity"](1e9 * cross, 1).item() == pytest.approx(-math.log(4))


def test_heat_spreads_over_six_stimuli_as_over_a_complete_graph():
    # all are neighbours: eigenvalues 0 and five times 6/5
    t = np.logspace(-1, 1, 256)
    expected = (1 + 5 * np.exp(-1.2 * t)) / 6 * np.exp(-2 * (t + 1 / t))
    found = describe_heat_trace(torch.as_tensor(draw_related(n_stimuli=6)[0]), 1)
    np.testing.assert_allclose(found, expected, atol=1e-15)


def test_a_model_in_two_far_parts_holds_its_heat_longer():
    x = torch.as_tensor(draw_related(n_stimuli=40)[0])
    parted = x + 100 * (torch.arange(40) % 2)[:, None]
    assert (describe_heat_trace(parted, 2**20) >= describe_heat_trace(x, 2**20))[-50:].all()
    assert compare([x, parted], "heat_trace")[0][0, 1] > 1e-6


def test_what_cannot_be_described_has_its_reason():
    x = torch.as_tensor(draw_related()[0])
    silent = torch.cat([torch.zeros(2, 4, dtype=x.dtype), x[2:]])
    values, reasons = compare([x, silent], "concentricity")
    assert reasons[0, 1] == "model 1: 2 of 25 stimuli have only zero features, so cosine is undefined"
    assert values[1].isnan().all()
    assert values[0, 0] == 0
    assert compare([silent], "uniformity_of_directions")[1][0, 0].startswith("model 0: 2 of 25 stimuli")
    opposite = torch.cat([x[:12], -x[:12]])
    assert (
        compare([opposite], "concentricity")[1][0, 0]
        == "model 0: its mean stimulus is zero up to rounding, so cosines with it are undefined"
    )
    constant = torch.ones(25, 4)
    assert compare([constant], "heat_trace")[1][0, 0].startswith(
        "model 0: all stimuli have the same features"
    )


@pytest.mark.parametrize("description", ["uniformity", "uniformity_of_directions"])
def test_stimuli_that_are_all_the_same_are_least_uniform(description):
    assert DESCRIPTIONS[description](torch.full((5, 3), 2.0), 2**20).item() == 0
