"""What an id says is what is computed: every registered measure against its definition."""

import math
import re

import numpy as np
import pytest
import torch
from tests.reference import cka, functional, linear_maps, matching, neighbours, rsa

from rep_kedro.measures import MEASURES, compare_models

N_STIMULI, WIDTHS = 15, (3, 6, 5)
BATCHED = "cka_linear_minibatch_256"
K = 10

LINEAR_MAPS = {
    **{name: getattr(linear_maps, name) for name in ("cca_mean", "cca_mean_squared", "pwcca", "nbs")},
    **{name: getattr(linear_maps, name) for name in ("procrustes", "procrustes_angular", "size_and_shape")},
    "eigenspace_overlap": linear_maps.eigenspace_overlap,
    "linear_regression_r2": linear_maps.linear_regression,
    "svcca_0.99": lambda x, y: linear_maps.svcca(x, y, 0.99),
    **{
        f"shape_angular_{alpha}": lambda x, y, alpha=alpha: linear_maps.shape_angular(x, y, float(alpha))
        for alpha in ("0", "0.5")
    },
    **{
        f"gulp_{ridge}": lambda x, y, ridge=ridge: linear_maps.gulp(x, y, float(ridge))
        for ridge in ("0.001", "0.01", "0.1", "1")
    },
}
KERNELS = {
    **{
        f"cka_linear_{estimator}": lambda x, y, estimator=estimator: cka.linear_cka(x, y, estimator)
        for estimator in ("biased", "debiased", "lange")
    },
    BATCHED: lambda x, y: cka.minibatch_cka(x, y, batches_of_256()),
    "cka_linear_angular": lambda x, y: math.acos(min(1.0, cka.linear_cka(x, y, "biased"))),
    "rv_coefficient": lambda x, y: cka.linear_cka(x, y, "biased"),
    "distance_correlation_biased": lambda x, y: math.sqrt(cka.distance_correlation(x, y, "biased")),
    "distance_correlation_debiased": lambda x, y: cka.distance_correlation(x, y, "debiased"),
}
LISTS = {
    **{
        f"{name}_10": lambda x, y, name=name: getattr(neighbours, name)(x, y, k=K)
        for name in ("cknna", "cknna_reference", "second_order_cosine")
    },
    **{
        f"{name}_10": lambda x, y, name=name: getattr(neighbours, name)(x, y, k=K, distance="cosine")
        for name in ("mutual_knn", "jaccard", "rank_similarity", "cycle_knn")
    },
    "mutual_knn_10_euclidean": lambda x, y: neighbours.mutual_knn(x, y, k=K, distance="euclidean"),
    "information_imbalance": lambda x, y: neighbours.information_imbalance(x, y, distance="euclidean"),
    "information_imbalance_cosine": lambda x, y: neighbours.information_imbalance(x, y, distance="cosine"),
}
UNITS = {
    name: getattr(matching, name) for name in ("permutation_match", "permutation_procrustes", "soft_match")
}


def batches_of_256(n=N_STIMULI):
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    return [batch.numpy() for batch in order.tensor_split(math.ceil(n / 256))]


def gaussian(measure_id):
    _, _, unit, width, estimator = measure_id.split("_")

    def width_of(x):
        return float(width) * (cka.median_distance(x) if unit == "median" else 1.0)

    return lambda x, y: cka.gaussian_cka(x, y, width_of(x), width_of(y), estimator)


def dissimilarities(measure_id):
    rdm, how = re.fullmatch("rsa_(correlation|cosine|(?:squared_)?euclidean)_(.*)", measure_id).groups()
    # rounding of the definition itself would tear apart the ties of doubled stimuli
    return lambda x, y: rsa.COMPARE[how](*(rsa.rdm_vector(rdm, z).round(12) for z in (x, y)))


def definition(measure_id):
    """Read from the id alone what has to be computed."""
    if measure_id.startswith("cka_rbf"):
        return gaussian(measure_id)
    if measure_id.startswith("rsa"):
        return dissimilarities(measure_id)
    return {**KERNELS, **LINEAR_MAPS, **LISTS, **UNITS}[measure_id]


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
