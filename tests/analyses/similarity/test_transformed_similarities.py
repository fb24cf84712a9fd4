"""Similarities of transformed features and of chosen stimuli, through the planned node."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.small_collections import ARROW, make_features, make_subset, run_plan, store

from rep_kedro.analyses.inference import inference, sample_sizes
from rep_kedro.analyses.similarity.matrices import plan_similarity_matrices
from rep_kedro.analyses.similarity.params import InferenceParams, SampleSizeParams, SimilarityParams
from rep_kedro.analyses.similarity.selection import select_features
from rep_kedro.measures import MEASURES, compare_models

torch.set_num_threads(1)
MATRIX = "rep_kedro.datasets.MatrixDataset"
N = 60
GOLDEN = {  # of the study's measures on rows of length one, from an independent implementation
    "cka_linear_debiased": 0.5214229651501,
    "cka_rbf_abs_0.2_debiased": 0.2131080356311,
    "cka_rbf_abs_0.4_debiased": 0.4413676335528,
    "cka_rbf_abs_0.6_debiased": 0.5023281105630,
    "cka_rbf_abs_0.8_debiased": 0.5181880734416,
    "cka_linear_biased": 0.5845707891243,
    "cka_rbf_abs_0.2_biased": 0.9961367053124,
    "cka_rbf_abs_0.4_biased": 0.9201310947782,
    "cka_rbf_abs_0.6_biased": 0.7707506212192,
    "cka_rbf_abs_0.8_biased": 0.6840976934126,
    "rsa_correlation_pearson": 0.4797845533791,
    "rsa_correlation_spearman": 0.4626133316356,
}


def _golden_pair():
    r = np.random.RandomState(0)
    x = r.randn(N, 16)
    a = r.randn(16, 8)
    return x, x @ a + 0.5 * r.randn(N, 8)


@pytest.fixture
def features(tmp_path):
    lengths = np.geomspace(0.1, 40.0, N)[:, None]
    x, y = _golden_pair()
    members = {
        "letters/net_x": make_features({"late": lengths * x}),
        "letters/net_y": make_features({"late": y}),
    }
    return store(tmp_path / "features", members)


@pytest.fixture
def subsets(tmp_path):
    whole = make_subset([0] * N, ["train"] * N)
    chosen = {"analysis": range(N), "few": range(0, N, 3), "drawn": [0, 0, *range(1, 30), 5]}
    tables = {f"letters/{name}": whole.take(list(rows)) for name, rows in chosen.items()}
    return store(tmp_path / "subsets", tables, ARROW)


def _compare(folder, features, subsets=None, **params):
    params = SimilarityParams(**{"measures": ["cka_linear_debiased"], "device": "cpu", **params})
    return run_plan(folder, plan_similarity_matrices(features, params, subsets or {}), MATRIX)


def test_unit_length_reproduces_the_studys_numbers_from_features_as_networks_give_them(tmp_path, features):
    found = _compare(tmp_path / "m", features, measures=list(GOLDEN), transform=["unit_length"])
    values = {name: float(found[f"letters/{name}"].matrix().values[0, 1]) for name in GOLDEN}
    assert values == pytest.approx(GOLDEN, abs=1e-6, rel=0)


def test_as_they_are_stored_these_features_give_other_numbers(tmp_path, features):
    found = _compare(tmp_path / "m", features, measures=list(GOLDEN))
    for name in ("cka_linear_debiased", "cka_rbf_abs_0.4_debiased"):
        value = found[f"letters/{name}"].matrix().values[0, 1]
        assert np.isnan(value) or abs(value - GOLDEN[name]) > 0.05


def test_without_transform_and_subset_recipes_are_those_of_features_as_they_are_stored(features, subsets):
    def recipes(**params):
        params = SimilarityParams(measures=["cka_linear_debiased"], **params)
        return {key: p.recipe for key, p in plan_similarity_matrices(features, params, subsets).items()}

    plain = recipes()
    [recipe] = plain.values()
    assert recipe["features"] == [features[f"letters/net_{name}"].reference for name in "xy"]
    assert set(recipe) == {"measure", "features", "layers", "code"}
    assert recipes(transform=[], subset="analysis") == plain
    others = [recipes(transform=["unit_length"]), recipes(subset="few"), recipes(transform=["centre"])]
    assert len({str(other) for other in [plain, *others]}) == 4


def test_a_subset_is_compared_as_if_it_were_all(tmp_path, features, subsets):
    found = _compare(tmp_path / "m", features, subsets, subset="few", transform=["unit_length"])
    matrix = found["letters/cka_linear_debiased"].matrix()
    assert matrix.meta["n_stimuli"] == N // 3
    x, y = (torch.from_numpy(z[::3]) for z in _golden_pair())
    units = {name: z / z.norm(dim=1, keepdim=True) for name, z in (("x", x), ("y", y))}
    direct = dict(compare_models(list(units.values()), ["cka_linear_debiased"], memory_bytes=10**7))
    expected = direct["cka_linear_debiased"].values
    np.testing.assert_allclose(matrix.values, expected, rtol=0, atol=1e-6)


def test_copies_raise_similarities_and_the_log_says_so(tmp_path, features, subsets, caplog):
    """What the study's own bootstrap does; ``similarity_inference`` leaves pairs of copies out."""
    with caplog.at_level(logging.WARNING):
        drawn = _compare(tmp_path / "a", features, subsets, subset="drawn", transform=["unit_length"])
    assert (
        "letters/drawn contains 2 copies of stimuli; measures treat copies as different stimuli"
        in caplog.text
    )
    assert drawn["letters/cka_linear_debiased"].matrix().meta["n_stimuli"] == 32
    twice = make_subset([0] * N, ["train"] * N).take([*range(30), *range(30)])
    once = make_subset([0] * N, ["train"] * N).take(list(range(30)))
    more = store(tmp_path / "more", {"letters/twice": twice, "letters/once": once}, ARROW)
    unrelated = {
        f"letters/net_{seed}": make_features({"late": np.random.default_rng(seed).normal(size=(N, 8))})
        for seed in range(4)
    }
    nets = store(tmp_path / "unrelated", unrelated)
    upper = np.triu_indices(4, 1)
    mean = {
        name: _compare(tmp_path / name, nets, {**subsets, **more}, subset=name)["letters/cka_linear_debiased"]
        .matrix()
        .values[upper]
        .mean()
        for name in ("once", "twice")
    }
    assert abs(mean["once"]) < 0.1
    assert mean["twice"] > mean["once"] + 0.1


def test_nulls_and_sample_sizes_see_what_the_matrices_see(tmp_path, features, subsets):
    similarity = SimilarityParams(
        measures=["cka_linear_debiased"], subset="few", transform=["unit_length"], device="cpu"
    )
    matrix = run_plan(tmp_path / "m", plan_similarity_matrices(features, similarity, subsets), MATRIX)
    value = matrix["letters/cka_linear_debiased"].matrix().values[0, 1]
    params = InferenceParams(n_permutations=9)
    nulls = run_plan(tmp_path / "n", inference.plan_similarity_nulls(features, similarity, params, subsets))
    found = nulls["letters/cka_linear_debiased"]
    assert found.meta["n_stimuli"] == N // 3
    assert found.tensor("similarity")[0, 1] == pytest.approx(value, abs=1e-6)
    sizes = SampleSizeParams(measures=["cka_linear_debiased"], n_orders=1, sizes=[10])
    plan = sample_sizes.plan_sample_size_curves(features, similarity, sizes, subsets)
    curves = run_plan(tmp_path / "s", plan)["letters/cka_linear_debiased"]
    assert curves.meta["sizes"] == [10, N // 3]
    assert curves.tensor("similarity")[0, 1, 0] == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"subset": "fe"}, "'letters' has no subset 'fe' for similarity.subset; did you mean 'few'"),
        ({"subset": "q"}, "no subset 'q' for similarity.subset; known: analysis, drawn, few"),
    ],
)
def test_an_unknown_subset_is_refused_while_planning(features, subsets, params, message):
    with pytest.raises(ValueError, match=message):
        plan_similarity_matrices(
            features, SimilarityParams(measures=["cka_linear_debiased"], **params), subsets
        )


def test_an_unknown_transform_is_refused_before_any_node_runs():
    with pytest.raises(ValidationError, match="unknown transform 'unit_norm'"):
        SimilarityParams(measures=["cka_linear_debiased"], transform=["unit_norm"])


def test_stored_features_are_mapped_and_not_copied(features):
    [selection] = select_features(features, SimilarityParams(measures=["cka_linear_debiased"]))
    loaded = selection.load(selection.layers("final"))
    maps = Path("/proc/self/maps").read_text().splitlines()
    for model, x in loaded.items():
        path = str(features[f"letters/{model}"].path)
        ranges = [line.split()[0].split("-") for line in maps if line.endswith(path)]
        spans = [(int(low, 16), int(high, 16)) for low, high in ranges]
        assert any(low <= x.data_ptr() < high for low, high in spans), model


@pytest.mark.parametrize("measure_id", sorted(MEASURES))
def test_no_measure_writes_to_the_features_it_reads(measure_id, tmp_path):
    """They are mapped read-only: a write would end the process."""
    x, y = _golden_pair()
    layers = {"one": x, "two": y[:, :4], "flat": np.full((N, 4), 2.5), "zero": np.zeros((N, 4))}
    names = (
        ("one", "flat", "zero") if MEASURES[measure_id].compares == "features" else ("two", "flat", "zero")
    )
    members = {f"letters/{name}": make_features({"late": layers[name]}) for name in names}
    params = SimilarityParams(
        measures=[measure_id], device="cpu", memory_bytes=10**7, outputs_layer="late", layer="late"
    )
    plan = plan_similarity_matrices(store(tmp_path / "features", members), params)
    [(_, matrix)] = plan[f"letters/{measure_id}"].compute.compute([f"letters/{measure_id}"])
    assert set(matrix.labels) == set(names)
