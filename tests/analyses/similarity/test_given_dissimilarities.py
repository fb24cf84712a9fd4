"""Dissimilarities that were made elsewhere, in the similarity matrices."""

import numpy as np
import pytest
from tests.small_collections import ARROW, make_features, make_subset, run_plan, store

from rep_kedro.analyses.similarity.matrices import plan_similarity_matrices
from rep_kedro.analyses.similarity.params import SimilarityParams
from rep_kedro.datasets import Tensors

MATRIX = "rep_kedro.datasets.MatrixDataset"
CNN, VIT = (np.random.default_rng(seed).normal(size=(9, 4)) for seed in (0, 1))
RSA, CKA = "rsa_euclidean_pearson", "cka_linear_debiased"


@pytest.fixture
def features(tmp_path):
    members = {"dots/cnn": make_features({"out": CNN}), "dots/vit": make_features({"out": VIT})}
    return store(tmp_path / "features", members)


@pytest.fixture
def rdms(tmp_path):
    return store(tmp_path / "rdms", {"dots/people": _rdm(), "spots/people": _rdm()})


def _rdm(**meta):
    meta = {**make_features({"out": CNN}).meta, **meta}
    values = np.linalg.norm(CNN[:, None] - CNN, axis=2)
    return Tensors(
        {"dissimilarities": values}, {key: meta[key] for key in ("n_stimuli", "stimulus_ids_sha256")}
    )


def _params(**changes):
    return SimilarityParams(**{"measures": [RSA, CKA], "device": "cpu", **changes})


def test_they_are_compared_where_they_can_be_in_the_order_of_names(features, rdms, tmp_path):
    plan = plan_similarity_matrices(features, _params(), {}, rdms)
    assert plan[f"dots/{CKA}"].recipe["dissimilarities"] == [rdms["dots/people"].reference]
    matrices = run_plan(tmp_path / "matrices", plan, MATRIX)
    rsa, cka = (matrices[f"dots/{name}"].matrix() for name in (RSA, CKA))
    assert rsa.labels == cka.labels == ("cnn", "people", "vit")
    assert rsa.values[0, 1] == pytest.approx(1, abs=1e-6)
    assert rsa.values[1, 2] == pytest.approx(rsa.values[0, 2], abs=1e-6)
    assert np.isnan(cka.values[1]).all()
    assert "dissimilarities alone" in cka.reasons["cnn", "people"]


def test_recipes_without_them_are_as_before_and_models_may_name_them(features, rdms):
    without = plan_similarity_matrices(features, _params(), {})
    assert "dissimilarities" not in without[f"dots/{CKA}"].recipe
    chosen = plan_similarity_matrices(features, _params(models=["cnn", "people"]), {}, rdms)
    assert [len(planned.recipe["features"]) for planned in chosen.values()] == [1, 1]
    others = plan_similarity_matrices(features, _params(models=["cnn", "vit"]), {}, rdms)
    assert others[f"dots/{CKA}"].recipe == without[f"dots/{CKA}"].recipe


def test_those_of_other_stimuli_are_refused(features, tmp_path):
    other = store(tmp_path / "other", {"dots/people": _rdm(stimulus_ids_sha256="0" * 64)})
    with pytest.raises(ValueError, match="dissimilarities dots/people are of other stimuli"):
        plan_similarity_matrices(features, _params(), {}, other)


def test_they_are_seen_through_the_subset(features, rdms, tmp_path):
    whole = make_subset([0] * 9, ["test"] * 9)
    few = whole.take([7, 2, 3, 8, 1])
    subsets = store(tmp_path / "subsets", {"dots/analysis": whole, "dots/few": few}, ARROW)
    plan = plan_similarity_matrices(features, _params(measures=[RSA], subset="few"), subsets, rdms)
    matrix = run_plan(tmp_path / "matrices", plan, MATRIX)[f"dots/{RSA}"].matrix()
    assert matrix.values[0, 1] == pytest.approx(1, abs=1e-6)
    [reference] = plan[f"dots/{RSA}"].recipe["dissimilarities"]
    assert reference["rows"] == subsets["dots/few"].reference
