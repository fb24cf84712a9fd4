"""Many sets at once give what one set after the other gives."""

import math

import pytest
import torch
from tests.reference.ensembles import ensemble_accuracy, mean_within

from rep_kedro.kernels.probes.ensembles import average_within, count_ensemble_hits

N_MODELS, N_STIMULI, N_CLASSES = 6, 40, 5
SETS = [(0, 1), (2, 4, 5), (0, 1, 2, 3, 4, 5), (3,), (1, 5)]


@pytest.fixture
def members():
    found = torch.zeros(len(SETS), N_MODELS, dtype=torch.bool)
    for row, chosen in enumerate(SETS):
        found[row, list(chosen)] = True
    return found


@pytest.fixture
def probabilities():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(N_MODELS, N_STIMULI, N_CLASSES, generator=generator, dtype=torch.float64).softmax(-1)


@pytest.fixture
def labels():
    return torch.randint(N_CLASSES, (N_STIMULI,), generator=torch.Generator().manual_seed(1))


def test_hits_are_those_of_the_definition(probabilities, labels, members):
    found = count_ensemble_hits(probabilities, labels, members) / N_STIMULI
    expected = [ensemble_accuracy(probabilities.tolist(), labels.tolist(), chosen) for chosen in SETS]
    assert found.tolist() == pytest.approx(expected)
    assert len(set(expected)) > 2


def test_hits_of_parts_of_the_stimuli_add_up(probabilities, labels, members):
    whole = count_ensemble_hits(probabilities, labels, members)
    parts = [
        count_ensemble_hits(probabilities[:, s], labels[s], members) for s in (slice(13), slice(13, None))
    ]
    assert (parts[0] + parts[1]).tolist() == whole.tolist()


def test_one_model_is_an_ensemble_of_its_own(probabilities, labels):
    found = count_ensemble_hits(probabilities, labels, torch.eye(N_MODELS, dtype=torch.bool))
    assert found.tolist() == (probabilities.argmax(-1) == labels).sum(1).tolist()


def test_models_that_err_differently_are_better_together():
    right, wrong = [0.9, 0.1], [0.4, 0.6]  # sure where right, unsure where wrong
    probabilities = torch.tensor([[right, wrong], [wrong, right]])
    members = torch.tensor([[True, False], [False, True], [True, True]])
    assert count_ensemble_hits(probabilities, torch.tensor([0, 0]), members).tolist() == [1, 1, 2]


def test_undefined_probabilities_are_refused(probabilities, labels, members):
    probabilities[3, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"probabilities of models \[3\] are NaN or infinite"):
        count_ensemble_hits(probabilities, labels, members)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_mean_similarity_is_that_of_the_definition_whatever_the_diagonal(members, scale):
    drawn = torch.randn(N_MODELS, N_MODELS, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    similarities = (drawn + drawn.T) * scale
    found = average_within(similarities.clone().fill_diagonal_(torch.nan), members)
    for value, chosen in zip(found.tolist(), SETS, strict=True):
        expected = mean_within(similarities.tolist(), chosen) if len(chosen) > 1 else math.nan
        assert value == pytest.approx(expected, rel=1e-9, abs=1e-9 * scale, nan_ok=True)


def test_a_set_with_an_undefined_similarity_has_no_mean(members):
    similarities = torch.full((N_MODELS, N_MODELS), 0.5)
    similarities[2, 4] = similarities[4, 2] = torch.nan
    found = average_within(similarities, members)
    assert found.isnan().tolist() == [False, True, True, True, False]
    assert found[0] == 0.5
