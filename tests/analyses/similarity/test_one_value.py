"""The two tables of one run, similarities and their inference, give one value for one question."""

import numpy as np
import pytest
from tests.measures.hard_inputs import HARD_INPUTS, compare

from rep_kedro.analyses.inference.nulls import summarise_null
from rep_kedro.measures import MEASURES

NAMES = [name for name, measure in MEASURES.items() if measure.inference]
LARGEST_DIFFERENCE = 1e-5  # relative to the range: float32 in the one table, float64 in the other


@pytest.mark.parametrize("title", HARD_INPUTS, ids=lambda title: title.replace(" ", "-"))
def test_inference_is_about_the_value_in_the_table_of_similarities(title):
    models = HARD_INPUTS[title]
    compared = compare(models, NAMES)
    assert compared.keys() == set(NAMES)
    for name, found in compared.items():
        measure = MEASURES[name]
        null = summarise_null(list(models.models), measure, n_permutations=0, level=0.05, seed=0)
        values = null["similarity"].numpy()
        low, high = measure.value_range
        size = high - low if np.isfinite(high - low) else np.maximum(1, np.abs(found.values))
        np.testing.assert_allclose(
            values / size, found.values / size, rtol=0, atol=LARGEST_DIFFERENCE, err_msg=name
        )
