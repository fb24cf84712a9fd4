"""Dissimilarity matrices among representations: RSA compares them, other measures say why not."""

import re

import numpy as np
import pytest
import torch

from rep_kedro.errors import UserError
from rep_kedro.measures import get_measure
from rep_kedro.measures.given import compare_with_rdms
from rep_kedro.measures.named import compare_named

MEASURES = ["rsa_euclidean_pearson", "cka_linear_debiased", "rsa_correlation_tau_a", "mutual_knn_10"]


def _drawn(n=12):
    generator = torch.Generator().manual_seed(0)
    networks = {name: torch.randn(n, d, generator=generator) for name, d in (("cnn", 5), ("vit", 9))}
    return networks, {"people": torch.cdist(networks["cnn"], networks["cnn"]).double()}


def _compare(networks, rdms, memory_bytes=10**8, measures=MEASURES):
    found = compare_with_rdms(networks, rdms, [get_measure(m) for m in measures], memory_bytes=memory_bytes)
    return {measure.id: (values, reasons) for measure, values, reasons in found}


def test_rsa_takes_the_matrix_and_other_measures_say_why_they_cannot():
    found = _compare(*_drawn())
    values, reasons = found["rsa_euclidean_pearson"]
    assert reasons == {}
    np.testing.assert_allclose(values[2], [1, values[0, 1], 1], atol=1e-6)
    np.testing.assert_array_equal(values, values.T)
    values, reasons = found["cka_linear_debiased"]
    assert np.isnan(values[2]).all()
    assert np.isnan(values[:, 2]).all()
    assert reasons["cnn", "people"] == reasons["people", "cnn"]
    assert reasons["people", "people"] == (
        "people is given by its dissimilarities alone, and cka_linear_debiased compares features"
    )


def test_values_between_networks_are_the_same_as_without_a_matrix():
    networks, rdms = _drawn()
    found = _compare(networks, rdms)
    for measure, values, reasons in compare_named(
        networks, [get_measure(name) for name in MEASURES], memory_bytes=10**8
    ):
        np.testing.assert_array_equal(found[measure.id][0][:2, :2], values)
        assert reasons.items() <= found[measure.id][1].items()
    assert len(found) == len(MEASURES)


def test_matrices_are_compared_with_each_other_where_there_is_no_network():
    _, rdms = _drawn()
    found = _compare({}, {**rdms, "more": rdms["people"] + 1})
    np.testing.assert_allclose(found["rsa_euclidean_pearson"][0], np.ones((2, 2)), atol=1e-12)


@pytest.mark.parametrize(
    ("n", "measure", "why"),
    [
        (3, "rsa_euclidean_pearson", "rsa_euclidean_pearson needs at least 4 stimuli, got 3"),
        (1001, "rsa_euclidean_tau_a", "tau-a compares all pairs .* at most 1000 stimuli, got 1001"),
    ],
)
def test_too_few_and_too_many_stimuli_are_a_reason(n, measure, why):
    rdms = {"a": torch.ones(n, n)}
    values, reasons = _compare({}, rdms, measures=[measure])[measure]
    assert np.isnan(values).all()
    assert re.search(why, reasons["a", "a"])


def test_other_stimuli_and_too_little_memory_are_refused_in_one_line():
    networks, rdms = _drawn()
    with pytest.raises(UserError, match=r"people has shape \(12, 11\); dissimilarities are of 12 stimuli"):
        _compare(networks, {"people": rdms["people"][:, 1:]})
    with pytest.raises(UserError, match=r"cnn has shape \(12, 5\); dissimilarities are of 11 stimuli"):
        _compare(networks, {"people": rdms["people"][1:, 1:]})
    with pytest.raises(UserError, match=r"1 dissimilarity matrices of 12 stimuli take .* is 5000"):
        _compare(networks, rdms, memory_bytes=5000, measures=["rsa_euclidean_pearson"])
