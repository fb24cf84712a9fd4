"""P-values are corrected within their family alone; what is no test does not count."""

import pytest
import torch
from tests.reference import inference as reference

from rep_kedro.kernels.statistics.families import LEVEL, advise_hopeless, correct_families, explain_hopeless

ADJUSTED = {
    "holm": reference.holm,
    "benjamini-hochberg": reference.benjamini_hochberg,
    "bonferroni": lambda p_values: [min(1.0, p * len(p_values)) for p in p_values],
}
P = torch.tensor([0.01, torch.nan, 0.04, 0.03, 0.2, torch.nan], dtype=torch.float64)
FAMILIES = torch.tensor([0, 0, 1, 0, 1, 2])


@pytest.mark.parametrize("method", ADJUSTED)
def test_each_family_is_corrected_by_itself_and_undefined_p_values_are_no_tests(method):
    smallest = torch.full_like(P, 0.01)
    found = correct_families(P, smallest, FAMILIES, method=method)
    for tests in ([0, 3], [2, 4]):
        for name, given in (("p_adjusted", P), ("p_smallest", smallest)):
            expected = ADJUSTED[method](given[tests].tolist())
            assert getattr(found, name)[tests].tolist() == pytest.approx(expected, abs=1e-15)
    assert found.n_tests.tolist() == [2, 0, 2, 2, 2, 0]
    assert found.p_adjusted.isnan().tolist() == found.p_smallest.isnan().tolist() == P.isnan().tolist()


def test_a_family_that_just_reaches_the_level_is_not_called_hopeless():
    assert explain_hopeless("tests", 5, LEVEL) == ""
    assert explain_hopeless("tests", 5, LEVEL + 1e-9) != ""
    assert advise_hopeless([20], 4, method="holm", otherwise="draw more") == "draw more"
    assert "compare more networks" in advise_hopeless([19], 4, method="holm", otherwise="draw more")
