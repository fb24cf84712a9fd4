"""Given RDMs under every comparison: against definitions, with signs and ties, and degenerate input."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kernels.in_words import in_words
from tests.reference import rsa as reference

from rep_kedro.kernels.similarity.given_rdms import compare_given_rdms
from rep_kedro.kernels.similarity.rsa import RDM_KINDS, compare_rsa

COMPARISONS = tuple(reference.COMPARE)
N = 8


def draw(seed=0, n=N):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(n, d)) + 0.3 for d in (5, 3)]


def draw_rdms(seed=1, n=N):
    """One RDM of no points (a negative entry, no triangle inequality), one with ties."""
    generator = np.random.default_rng(seed)
    rough, tied = generator.normal(size=(n, n)) + 0.5, generator.integers(0, 4, (n, n)).astype(float)
    return [rough + rough.T, tied + tied.T]


def compare(representations, rdms, rdm, how, memory_bytes=10**7):
    found = compare_given_rdms(
        [torch.as_tensor(x) for x in representations],
        [torch.as_tensor(x) for x in rdms],
        {"asked": {"rdm": rdm, "compare": how}},
        memory_bytes=memory_bytes,
    )
    [(_, values, reasons)] = found
    return values.numpy(), in_words(reasons)


def upper(matrix):
    return np.array([matrix[i, j] for i, j in itertools.combinations(range(len(matrix)), 2)])


@pytest.mark.parametrize("how", COMPARISONS)
@pytest.mark.parametrize("rdm", RDM_KINDS)
def test_similarity_equals_its_definition(rdm, how):
    values, reasons = compare(draw(), draw_rdms(), rdm, how)
    rows = [upper(matrix) for matrix in draw_rdms()]
    columns = [reference.rdm_vector(rdm, x) for x in draw()] + rows
    np.testing.assert_allclose(
        values, [[reference.COMPARE[how](v, w) for w in columns] for v in rows], atol=1e-12
    )
    assert reasons == {}


@pytest.mark.parametrize("how", COMPARISONS)
@pytest.mark.parametrize("rdm", RDM_KINDS)
def test_the_rdm_of_a_model_gives_the_values_of_the_model(rdm, how):
    models = [*draw(), np.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1]] + 0.1 * np.arange(3)]  # with many ties
    rdms = [np.zeros((N, N)) for _ in models]
    for x, matrix in zip(models, rdms, strict=True):
        for (i, j), value in zip(
            itertools.combinations(range(N), 2), reference.rdm_vector(rdm, x), strict=True
        ):
            matrix[i, j] = matrix[j, i] = np.round(value, 12)
    values, _ = compare(models, rdms, rdm, how)
    tensors = [torch.as_tensor(x) for x in models]
    [(_, expected, _)] = compare_rsa(tensors, {"a": {"rdm": rdm, "compare": how}}, memory_bytes=10**7)
    np.testing.assert_allclose(values, np.hstack([expected, expected]), atol=1e-9)


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 10_000),
    factor=st.floats(1e-30, 1e30),
    diagonal=st.floats(-1e3, 1e3),
    how=st.sampled_from(COMPARISONS),
)
def test_neither_unit_nor_diagonal_nor_order_of_stimuli_matters(seed, factor, diagonal, how):
    models, [rough, tied] = draw(seed), draw_rdms(seed)
    before, _ = compare(models, [rough, tied], "euclidean", how)
    order = np.random.default_rng(seed).permutation(N)
    changed = [factor * rough[np.ix_(order, order)] + diagonal * np.eye(N), tied[np.ix_(order, order)]]
    after, _ = compare([x[order] for x in models], changed, "euclidean", how)
    np.testing.assert_allclose(after, before, atol=1e-9)


def test_values_by_hand():
    """Four stimuli; entries 1 to 6 against the reversed order, and against themselves."""
    one = np.zeros((4, 4))
    one[np.triu_indices(4, 1)] = [1, 2, 3, 4, 5, 6]
    two = np.zeros((4, 4))
    two[np.triu_indices(4, 1)] = [6, 5, 4, 3, 2, 1]
    rdms = [one + one.T, two + two.T]
    for how, value in (("pearson", -1), ("spearman", -1), ("rho_a", -1), ("tau_a", -1), ("cosine", 56 / 91)):
        values, _ = compare([], rdms, "euclidean", how)
        np.testing.assert_allclose(values, [[1, value], [value, 1]], atol=1e-14)


@pytest.mark.parametrize("how", COMPARISONS)
def test_what_is_undefined_says_why(how):
    flat, equal = np.zeros((N, N)), np.full((N, N), 2.5)
    constant = np.ones((N, 3))
    values, reasons = compare([draw()[0], constant], [flat, equal, draw_rdms()[0]], "euclidean", how)
    size = "zero" if "cosine" in how else "equal"
    assert np.isnan(values[0]).all()
    assert reasons[0, 0] == f"model 2: all its dissimilarities are {size}"
    assert "model 1: all stimuli have the same features up to rounding" in reasons[2, 1]
    is_defined = how in {"cosine", "whitened_cosine"}  # of equal entries
    assert np.isfinite(values[1, 0]) == is_defined
    assert np.isfinite(values[2, [0, 4]]).all()
    assert {pair for pair in np.ndindex(values.shape) if np.isnan(values[pair])} == reasons.keys()


def test_memory_is_counted_before_it_is_taken():
    with pytest.raises(ValueError, match=r"2 dissimilarity matrices of 8 stimuli take 3072 bytes.*is 3071"):
        compare(draw(), draw_rdms(), "euclidean", "spearman", memory_bytes=3071)
    compare(draw(), draw_rdms(), "euclidean", "spearman", memory_bytes=3072)
