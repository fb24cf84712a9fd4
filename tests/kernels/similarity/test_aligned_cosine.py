"""Cosines after the best rotation, against the definition, and where no rotation is best."""

import numpy as np
import pytest
import torch
from tests.kernels.in_words import in_words
from tests.reference import linear_maps as reference

from rep_kedro.kernels.similarity.aligned_cosine import compare_aligned


def draw_related(widths=(4, 6, 5), n_stimuli=25, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n_stimuli, 3))
    return [shared @ rng.standard_normal((3, d)) + rng.standard_normal((n_stimuli, d)) + 0.5 for d in widths]


def compare(representations):
    tensors = [torch.as_tensor(x) for x in representations]
    [(_, values, reasons)] = compare_aligned(tensors, {"it": {}}, memory_bytes=1)
    return values, in_words(reasons)


@pytest.mark.parametrize(("n_stimuli", "widths"), [(25, (4, 6, 5)), (6, (8, 9, 3)), (9, (9, 9, 12))])
def test_every_entry_equals_the_definition_for_more_features_than_stimuli_too(n_stimuli, widths):
    models = draw_related(widths, n_stimuli)
    values, reasons = compare(models)
    assert not reasons
    expected = [[reference.aligned_cosine(x, y) for y in models] for x in models]
    np.testing.assert_allclose(values, expected, atol=1e-12)
    assert torch.equal(values, values.T)


def test_a_rotated_model_is_found_again_and_one_moved_is_not():
    x = draw_related()[0]
    turned = x @ np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    values, _ = compare([x, 7 * turned, turned + 3])
    assert values[0, 1].item() == pytest.approx(1, abs=1e-12)
    assert values[0, 2].item() < 0.99


def test_rotations_of_a_hand_made_square():
    # the best rotation is none: the sum of products is 3 in each direction; cosines are 1, 1, 1 and -1
    x = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0], [0.0, 1.0]])
    y = torch.tensor([[2.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [0.0, 1.0]])
    assert compare([x, y])[0][0, 1].item() == pytest.approx(0.5)


def test_models_that_share_fewer_dimensions_than_they_have_have_no_best_rotation():
    first = torch.tensor([[1.0, 1.0], [1.0, -1.0], [1.0, 1.0], [1.0, -1.0]])
    second = torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, -1.0], [1.0, -1.0]])
    values, reasons = compare([first, second])
    assert values.isnan().tolist() == [[False, True], [True, False]]
    assert reasons[0, 1] == (
        "the best rotation is not unique up to rounding: of 2 and 2 dimensions the models share 1"
    )


def test_a_stimulus_without_features_has_no_cosine():
    x, y, _ = draw_related()
    y[3] = 0
    values, reasons = compare([x, y])
    assert reasons[1, 1] == "model 1: 1 of 25 stimuli have only zero features, so cosine is undefined"
    assert values.isnan().tolist() == [[False, True], [True, True]]
