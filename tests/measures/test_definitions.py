"""What an id says is what is computed: every registered measure against its definition."""

import numpy as np
import pytest
import torch
from tests.reference import cka, functional
from tests.reference.definitions import BATCHED, batches_of_256, definition

from rep_kedro.measures import MEASURES, compare_models

N_STIMULI, WIDTHS = 15, (3, 6, 5)


def draw(n=N_STIMULI, widths=WIDTHS, seed=0, n_copies=0):
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n, 3))
    models = [0.1 * (shared @ rng.standard_normal((3, d)) + rng.standard_normal((n, d)) + 1) for d in widths]
    for x in models:
        x[n - n_copies :] = x[:n_copies]
    return models


def compare(representations, name):
    tensors = [torch.from_numpy(x) for x in representations]
    [(_, comparison)] = compare_models(tensors, [name], memory_bytes=2**22)
    return comparison.values


@pytest.mark.parametrize("n_copies", [0, 3])
@pytest.mark.parametrize("name", [name for name, m in MEASURES.items() if m.compares == "features"])
def test_a_measure_of_features_is_what_its_id_says_also_where_stimuli_are_doubled(name, n_copies):
    representations, define = draw(n_copies=n_copies), definition(name)
    expected = np.array([[define(x, y) for y in representations] for x in representations])
    found = compare(representations, name)
    off_diagonal = ~np.eye(len(expected), dtype=bool)
    np.testing.assert_allclose(found[off_diagonal], expected[off_diagonal], rtol=1e-9, atol=1e-9)
    # the arc cosine of one, and the root of zero, are uncertain by the root of the rounding
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_minibatch_cka_takes_batches_of_at_most_256_stimuli():
    x, y = draw(300, (4, 3))
    expected = cka.minibatch_cka(x, y, batches_of_256(300))
    assert compare([x, y], BATCHED)[0, 1] == pytest.approx(expected, abs=1e-11)
    assert abs(expected - cka.minibatch_cka(x, y, [np.arange(300)])) > 1e-6


@pytest.mark.parametrize("name", [name for name, m in MEASURES.items() if m.compares == "outputs"])
def test_a_measure_of_outputs_is_what_its_id_says(name):
    logits = [10 * x for x in draw(40, (4, 4, 4))]
    classes = [x.argmax(axis=1) for x in logits]
    probabilities = [np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in logits]
    seen = probabilities if name == "jensen_shannon" else classes
    expected = [[getattr(functional, name)(x, y) for y in seen] for x in seen]
    np.testing.assert_allclose(compare(logits, name), expected, atol=1e-11)
