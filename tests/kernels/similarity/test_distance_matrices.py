"""Norms and trees of distance matrices, against their definitions and values one can work out by hand."""

import numpy as np
import pytest
import torch
from tests.kernels.in_words import in_words
from tests.reference import distances as reference

from rep_kedro.kernels.similarity import spanning_trees
from rep_kedro.kernels.similarity.centred import centre
from rep_kedro.kernels.similarity.distance_matrices import compare_distances
from rep_kedro.kernels.similarity.spanning_trees import find_tree


def draw_related(widths=(4, 6, 5), n_stimuli=25, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n_stimuli, 3))
    return [shared @ rng.standard_normal((3, d)) + rng.standard_normal((n_stimuli, d)) + 3 for d in widths]


def compare(representations, statistic, memory_bytes=2**20):
    tensors = [torch.as_tensor(x) for x in representations]
    asked = {"it": {"statistic": statistic}}
    [(_, values, reasons)] = compare_distances(tensors, asked, memory_bytes=memory_bytes)
    return values, in_words(reasons)


@pytest.mark.parametrize("memory_bytes", [1, 3_000, 2**20])
@pytest.mark.parametrize("statistic", ["norm_difference", "rtd_lite"])
def test_every_entry_equals_the_definition_whatever_the_memory(statistic, memory_bytes):
    models = draw_related()
    models[2] = models[2].round()  # many distances are equal, some are zero
    values, reasons = compare(models, statistic, memory_bytes)
    assert not reasons
    expected = [[getattr(reference, statistic)(x, y) for y in models] for x in models]
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(values, values.T)
    assert not values.diagonal().any()


def test_the_norm_is_that_of_released_code():
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((60, 6))
    pair = [shared @ rng.standard_normal((6, 30)) + 0.5 * rng.standard_normal((60, 30)) for _ in range(2)]
    found = compare(pair, "norm_difference")[0][0, 1].item()
    assert found / 2**0.5 == pytest.approx(123.0065, abs=1e-4)  # llm_repsim: each pair of stimuli once


def test_clusters_that_merge_later_in_one_model_are_a_difference():
    # trees of length 1 + 1 + 4 and 4 + 1 + 1; of both 1 + 1 + 1; the quantile of 1, 1, 2, 4, 5, 6 is 5.5
    x = torch.tensor([[0.0], [1.0], [2.0], [6.0]])
    y = torch.tensor([[0.0], [4.0], [5.0], [6.0]])
    assert compare([x, y], "rtd_lite")[0][0, 1].item() == pytest.approx((6 - 3) / 5.5)


def test_a_tree_joins_all_by_their_shortest_edges():
    tree = find_tree(
        centre(torch.tensor([[0.0], [10.0], [11.0], [3.0], [3.0]]), dtype=torch.float64), memory_bytes=1
    )
    assert tree.ends.tolist() == [[3, 4], [1, 2], [0, 3], [1, 3]]
    assert tree.lengths / tree.lengths[1] == pytest.approx([0, 1, 3, 7])


@pytest.mark.parametrize("n_stimuli", [2, 3, 64, 65])
def test_equally_long_edges_make_no_cycle(n_stimuli):
    corners = torch.eye(n_stimuli, dtype=torch.float64)
    tree = find_tree(centre(corners), memory_bytes=2**20)
    assert len(tree.lengths) == n_stimuli - 1
    assert tree.lengths == pytest.approx(np.ones(n_stimuli - 1))


def test_the_unit_of_many_stimuli_is_taken_from_some(monkeypatch):
    monkeypatch.setattr(spanning_trees, "QUANTILE_SAMPLE", 12)
    x = draw_related(n_stimuli=34)[0]
    tree = find_tree(centre(torch.as_tensor(x)), memory_bytes=2**20)
    apart = reference.distances(x)
    some = apart[::3, ::3]
    expected = reference.tree_length(apart) / np.quantile(some[np.triu_indices(12, 1)], 0.9)
    assert tree.lengths.sum() == pytest.approx(expected)


def test_models_without_a_unit_of_length_have_their_reason():
    x = torch.as_tensor(draw_related()[0])
    lone = torch.zeros_like(x)
    lone[0] = 1
    values, reasons = compare([x, torch.ones_like(x), lone], "rtd_lite")
    assert reasons[0, 1] == "model 1: all stimuli have the same features up to rounding"
    assert reasons[0, 2] == "model 2: nine tenths of its distances are zero, the unit of lengths"
    assert values.isnan().sum() == 8
    norms, reasons = compare([x, torch.ones_like(x)], "norm_difference")
    assert not reasons
    assert norms[0, 1].item() == pytest.approx(np.linalg.norm(reference.distances(x.numpy())))
