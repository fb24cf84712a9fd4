"""Published values met by the registered measures themselves, and by the kernels below them.

Independent public implementations agree on those of the first pair, but for Jaccard: it is the value of one,
whose neighbours are those by the cosine of features as they are. Those of the second are of the
similarity-consistency study's formulas.
"""

import numpy as np
import pytest
import torch

from rep_kedro.kernels.similarity.centred import centre_all
from rep_kedro.kernels.similarity.cka import compare_cka
from rep_kedro.kernels.similarity.gram import linear_pair_sums
from rep_kedro.measures import compare_models

AGREED = {  # from the first model of the second, and the other way round
    "cka_linear_biased": (0.866361, 0.866361),
    "cka_linear_debiased": (0.854435, 0.854435),
    "cka_linear_lange": (0.854662, 0.854662),
    "rv_coefficient": (0.866361, 0.866361),
    "procrustes_angular": (0.343724, 0.343724),
    "nbs": (0.941506, 0.941506),
    "cca_mean": (0.679087, 0.679087),
    "cca_mean_squared": (0.560503, 0.560503),
    "svcca_0.99": (0.638396, 0.638396),
    "pwcca": (0.885177, 0.886536),
    "rsa_correlation_spearman": (0.885510, 0.885510),
    "rsa_correlation_pearson": (0.891843, 0.891843),
    "rsa_squared_euclidean_cosine": (0.962094, 0.962094),
    "jaccard_10": (0.609761, 0.609761),
}


def draw_pair():
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((60, 6))
    return [shared @ rng.standard_normal((6, 30)) + 0.5 * rng.standard_normal((60, 30)) for _ in range(2)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_registered_measures_meet_agreed_values_to_six_digits_in_either_precision(dtype):
    pair = [torch.from_numpy(x).to(dtype) for x in draw_pair()]
    answers = compare_models(pair, AGREED, memory_bytes=2**22)
    found = {name: (c.values[0, 1], c.values[1, 0]) for name, c in answers}
    assert found.keys() == AGREED.keys()
    for name, values in found.items():
        assert values == pytest.approx(AGREED[name], abs=1e-6), name


def draw_pair_of_unit_rows():
    rng = np.random.RandomState(0)
    x, mixing = rng.randn(60, 16), rng.randn(16, 8)
    y = x @ mixing + 0.5 * rng.randn(60, 8)
    return [torch.from_numpy(z / np.linalg.norm(z, axis=1, keepdims=True)) for z in (x, y)]


def test_the_sum_of_products_of_u_centred_gram_matrices_is_the_studys():
    models = centre_all(draw_pair_of_unit_rows())
    inner = linear_pair_sums(models, memory_bytes=2**22).u_centred()[0, 1].item()
    assert inner * (models[0].unit * models[1].unit) ** 2 == pytest.approx(177.8723528039, abs=1e-9)


def test_a_kernel_as_wide_as_the_rows_are_long_gives_the_studys_value():
    request = {"kernel": "gaussian", "width": 1.0, "width_unit": "abs", "estimator": "debiased"}
    [(_, values, _)] = compare_cka(draw_pair_of_unit_rows(), {"asked": request}, memory_bytes=2**22)
    assert values[0, 1].item() == pytest.approx(0.5223571248439, abs=1e-9)
