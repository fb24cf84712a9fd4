"""The two tables of one run, similarities and their inference, give one value for one question."""

import numpy as np
import pytest
from tests.measures.hard_inputs import HARD_INPUTS, compare

from rep_kedro.analyses.inference.nulls import summarise_null
from rep_kedro.measures import MEASURES

NAMES = [name for name, measure in MEASURES.items() if measure.inference]
LARGEST_DIFFERENCE = 1e-5  # relative to the range: float32 in the one table, float64 in the other


@pytest.fixture(scope="module", params=HARD_INPUTS, ids=lambda title: title.replace(" ", "-"))
def hard(request):
    models = HARD_INPUTS[request.param]
    return list(models.models), compare(models, NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_inference_is_about_the_value_in_the_table_of_similarities(name, hard):
    models, compared = hard
    measure = MEASURES[name]
    values = summarise_null(
        models,
        measure,
        n_permutations=0,
        level=0.05,
        seed=0,
    )["similarity"].numpy()
    low, high = measure.value_range
    size = high - low if np.isfinite(high - low) else np.maximum(1, np.abs(compared[name].values))
    np.testing.assert_allclose(values / size, compared[name].values / size, rtol=0, atol=LARGEST_DIFFERENCE)
