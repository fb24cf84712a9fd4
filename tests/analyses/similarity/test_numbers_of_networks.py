"""Nulls keep the catalog's contract for any number of networks: products of odd sizes round unevenly."""

import numpy as np
import pytest
import torch
from tests.small_collections import make_features, run_plan, store

from rep_kedro.analyses.inference.inference import plan_similarity_nulls
from rep_kedro.analyses.similarity.params import InferenceParams, SimilarityParams
from rep_kedro.datasets.inference_validators import require_similarity_null
from rep_kedro.datasets.tensors import Tensors
from rep_kedro.kernels.similarity.model_pairs import mirror

MEASURES = ["cka_linear_debiased", "rsa_correlation_pearson", "mutual_knn_10"]


def test_both_halves_get_the_upper_one():
    matrix = torch.tensor([[1.0, 0.5, torch.nan], [0.4, 1.0, 0.2], [0.7, 0.3, 1.0]])
    expected = torch.tensor([[1.0, 0.5, torch.nan], [0.5, 1.0, 0.2], [torch.nan, 0.2, 1.0]])
    torch.testing.assert_close(mirror(matrix), expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("n_networks", [1, 2, 3, 5, 6, 7, 10, 13, 21])
@pytest.mark.parametrize("params", [{}, {"n_permutations": 0}], ids=["permuted", "resampled only"])
def test_nulls_of_any_number_of_networks_are_exactly_symmetric(tmp_path, n_networks, params):
    generator = torch.Generator().manual_seed(n_networks)
    shared = torch.randn(40, 4, generator=generator)
    members = {
        f"letters/net_{index:02d}": make_features(
            {
                "late": shared @ torch.randn(4, 24, generator=generator)
                + torch.randn(40, 24, generator=generator)
            }
        )
        for index in range(n_networks)
    }
    features = store(tmp_path / "features", members)
    similarity = SimilarityParams(measures=["cka_linear_debiased"])
    chosen = InferenceParams(**{"measures": MEASURES, "n_permutations": 99, "n_bootstrap": 40, **params})
    for handle in run_plan(tmp_path / "nulls", plan_similarity_nulls(features, similarity, chosen)).values():
        stored = {name: np.array(handle.tensor(name)) for name in handle.names}
        require_similarity_null(Tensors(stored, dict(handle.meta)))
