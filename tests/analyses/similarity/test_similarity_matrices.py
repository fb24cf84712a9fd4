"""Similarity matrices: what is planned, what is computed, what is refused."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.small_collections import make_features, run_plan, store

from rep_kedro.analyses.similarity import matrices as nodes
from rep_kedro.analyses.similarity.comparison import compare_networks
from rep_kedro.analyses.similarity.matrices import plan_similarity_matrices
from rep_kedro.analyses.similarity.params import SimilarityParams
from rep_kedro.datasets import Planned, Tensors
from rep_kedro.datasets.validators import require_similarity_matrix
from rep_kedro.kernels.similarity.cka import compare_cka
from rep_kedro.measures import MEASURES

MATRIX = "rep_kedro.datasets.MatrixDataset"
N_STIMULI = 24
PAIR = ["cka_linear_biased", "cka_linear_debiased"]


def _draw(seed, width=5):
    return np.random.default_rng(seed).normal(size=(N_STIMULI, width))


def _layers(seed):
    return {"early": _draw(seed + 100, 7), "late": _draw(seed)}


@pytest.fixture
def features(tmp_path):
    members = {
        "letters/net_a": make_features(_layers(0)),
        "letters/net_b": make_features(_layers(1)),
        "letters/net_c": make_features(_layers(2)),
        "clouds/net_a": make_features(_layers(3)),
        "clouds/net_b": make_features(_layers(4)),
    }
    return store(tmp_path / "features", members)


def _params(**params):
    return SimilarityParams(**{"measures": PAIR, **params})


def _recipes(features, **params):
    return {k: p.recipe for k, p in plan_similarity_matrices(features, _params(**params)).items()}


def _compare(tmp_path, features, **params):
    plan = plan_similarity_matrices(features, _params(**params))
    return run_plan(tmp_path / "similarity_matrices", plan, MATRIX)


def test_the_plan_has_one_member_per_stimulus_set_and_measure(features):
    assert sorted(_recipes(features)) == [f"{s}/{m}" for s in ("clouds", "letters") for m in PAIR]
    chosen = _recipes(features, stimulus_sets=["letters"], models=["net_c", "net_a"], measures=PAIR[:1])
    [(key, recipe)] = chosen.items()
    assert key == "letters/cka_linear_biased"
    assert [reference["key"] for reference in recipe["features"]] == ["letters/net_a", "letters/net_c"]
    assert recipe["layers"] == {"net_a": "late", "net_c": "late"}


def test_planning_reads_no_features(features, monkeypatch):
    for handle in features.values():
        monkeypatch.setattr(type(handle), "tensor", lambda *_: pytest.fail("features were read"))
    assert len(_recipes(features)) == 4


def test_a_recipe_changes_with_what_the_matrix_depends_on_and_nothing_else(tmp_path, features):
    before = _recipes(features)
    assert before == _recipes(features, memory_bytes=10**6, device="cpu")
    assert all(before[key] != recipe for key, recipe in _recipes(features, layer="early").items())
    assert before["letters/cka_linear_biased"] != before["letters/cka_linear_debiased"]
    fewer = _recipes(features, models=["net_a", "net_b"])
    assert fewer["letters/cka_linear_biased"] != before["letters/cka_linear_biased"]
    assert fewer["clouds/cka_linear_biased"] == before["clouds/cka_linear_biased"]
    changed = run_plan(tmp_path / "again", {"clouds/net_a": _planned({"of": "something else"}, _layers(9))})
    moved = _recipes(features | changed)
    assert {key for key in before if before[key] != moved[key]} == {f"clouds/{name}" for name in PAIR}


def _planned(recipe, layers):
    return Planned(recipe, lambda: make_features(layers))


def test_another_measure_or_stimulus_set_recomputes_no_matrix(tmp_path, features, monkeypatch):
    asked = []
    original = nodes._comparison_batch

    def counted(selection, *arguments):
        batch = original(selection, *arguments)
        compute = batch.compute

        def noted(keys):
            asked.append(sorted(keys))
            return compute(keys)

        return type(batch)(noted)

    monkeypatch.setattr(nodes, "_comparison_batch", counted)
    _compare(tmp_path, features, stimulus_sets=["letters"], measures=PAIR[:1])
    _compare(tmp_path, features, stimulus_sets=["letters"])
    _compare(tmp_path, features)
    assert asked == [[f"letters/{PAIR[0]}"], [f"letters/{PAIR[1]}"], [f"clouds/{m}" for m in PAIR]]


def test_a_batch_yields_only_what_it_is_asked_for(features):
    plan = plan_similarity_matrices(features, _params(measures=[*PAIR, "mutual_knn_10"]))
    batch = plan["letters/mutual_knn_10"].compute
    assert batch is plan["letters/cka_linear_biased"].compute
    assert batch is not plan["clouds/mutual_knn_10"].compute
    yielded = [key for key, _ in batch.compute(["letters/mutual_knn_10", "letters/cka_linear_biased"])]
    assert sorted(yielded) == ["letters/cka_linear_biased", "letters/mutual_knn_10"]


def test_labels_are_the_networks_and_values_are_theirs(tmp_path, features):
    matrix = _compare(tmp_path, features)["letters/cka_linear_debiased"].matrix()
    assert matrix.labels == ("net_a", "net_b", "net_c")
    drawn = [torch.from_numpy(_draw(seed).astype(np.float32)) for seed in range(3)]
    request = {"it": {"kernel": "linear", "estimator": "debiased"}}
    [(_, expected, _)] = compare_cka(drawn, request, memory_bytes=2**28)
    np.testing.assert_allclose(matrix.values, expected, rtol=0, atol=1e-12)
    assert matrix.meta["n_stimuli"] == N_STIMULI
    assert matrix.meta["n_features"] == [5, 5, 5]
    assert matrix.reasons == {}


def test_another_layer_gives_other_values(tmp_path, features):
    late = _compare(tmp_path / "late", features)["letters/cka_linear_debiased"].matrix()
    early = _compare(tmp_path / "early", features, layer="early")["letters/cka_linear_debiased"].matrix()
    assert early.meta["n_features"] == [7, 7, 7]
    assert np.abs(early.values - late.values)[0, 1] > 1e-3


def test_an_undefined_value_is_missing_with_its_reason(tmp_path):
    constant = {"late": np.full((N_STIMULI, 5), 2.5)}
    members = {"letters/net_a": make_features(_layers(0)), "letters/net_z": make_features(constant)}
    matrix = _compare(tmp_path, store(tmp_path / "features", members))["letters/cka_linear_biased"].matrix()
    assert np.isnan(matrix.values).tolist() == [[False, True], [True, True]]
    assert set(matrix.reasons) == {("net_a", "net_z"), ("net_z", "net_a"), ("net_z", "net_z")}
    assert set(matrix.reasons.values()) == {"net_z: all stimuli have the same features up to rounding"}
    require_similarity_matrix(matrix)


def test_features_that_cannot_be_compared_are_named():
    broken = torch.ones(6, 2)
    broken[3, 0] = torch.nan
    measures = [MEASURES["cka_linear_biased"]]
    for other, message in (
        (broken, "net_b contains NaN or infinity in 1 of 6 stimuli"),
        (torch.ones(5, 2), "net_b has 5 stimuli, net_a has 6; all must"),
    ):
        with pytest.raises(ValueError, match=message):
            list(
                compare_networks(
                    {"net_a": torch.ones(6, 2), "net_b": other}, measures, memory_bytes=10**8, device="cpu"
                )
            )


@pytest.mark.parametrize("compares", ["features", "outputs"])
def test_a_network_and_its_double_are_as_alike_as_one_with_itself(tmp_path, compares):
    members = {
        f"letters/{name}": make_features(_layers(seed)) for name, seed in zip("aza", (0, 1, 0), strict=True)
    }
    members["letters/double"] = make_features(_layers(0))
    measures = [name for name, measure in MEASURES.items() if measure.compares == compares]
    handles = _compare(
        tmp_path, store(tmp_path / "features", members), measures=measures, outputs_layer="late"
    )
    for name in measures:
        matrix = handles[f"letters/{name}"].matrix()
        one, double = matrix.labels.index("a"), matrix.labels.index("double")
        assert matrix.values[one, double] == pytest.approx(matrix.values[one, one], abs=1e-12, nan_ok=True), (
            name
        )
        expected = MEASURES[name].self_value
        assert matrix.meta.get("self_value") == expected
        assert matrix.meta["symmetric"] is MEASURES[name].symmetric
        if expected is not None:
            assert matrix.values[one, double] == pytest.approx(expected, abs=1e-6), name
        require_similarity_matrix(matrix)


def test_measures_that_are_not_extreme_or_not_bounded_name_no_value_of_a_network_with_itself():
    without = {name for name, measure in MEASURES.items() if measure.self_value is None}
    unbounded = {name for name, measure in MEASURES.items() if np.inf in map(abs, measure.value_range)}
    assert unbounded <= without
    extreme = {name for name, measure in MEASURES.items() if measure.is_extreme_for_itself}
    assert without == unbounded | (set(MEASURES) - extreme)
    assert MEASURES["cka_linear_debiased"].self_value == 1.0
    assert MEASURES["procrustes"].self_value == 0.0


def test_a_matrix_with_a_wrong_diagonal_is_refused(tmp_path, features):
    matrix = _compare(tmp_path, features)["letters/cka_linear_debiased"].matrix()
    matrix.values[1, 1] = 0.9
    with pytest.raises(ValueError, match=r"net_b compared with itself gives 0\.9, not 1\.0"):
        require_similarity_matrix(matrix)


def test_one_network_is_compared_with_itself_alone(tmp_path, features):
    matrix = _compare(tmp_path, features, models=["net_a"])["letters/cka_linear_debiased"].matrix()
    assert matrix.labels == ("net_a",)
    assert matrix.values.tolist() == [[pytest.approx(1.0)]]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"stimulus_sets": ["leters"]}, r"no features of stimulus set 'leters'; did you mean 'letters'\?$"),
        ({"stimulus_sets": ["q"]}, r"no features of stimulus set 'q'; known: clouds, letters$"),
        ({"models": ["net_d"]}, r"no features of network 'net_d'; did you mean 'net_b' or 'net_a'\?$"),
        (
            {"models": ["net_c"]},
            r"no features of network 'net_c'; did you mean 'net_b' or 'net_a'\?$",
        ),  # not on clouds
        ({"layer": "last"}, r"clouds/net_a has no layer 'last'; known: early, late$"),
    ],
)
def test_unknown_names_are_refused_with_close_matches(features, params, message):
    with pytest.raises(ValueError, match=message):
        plan_similarity_matrices(features, _params(**params))


def test_an_unknown_or_doubled_measure_is_refused_before_any_node_runs():
    with pytest.raises(ValidationError, match="'cka_linear'; did you mean 'cka_linear_"):
        _params(measures=["cka_linear"])
    with pytest.raises(ValidationError, match=r"measures are listed twice: \['cka_linear_biased'\]"):
        _params(measures=[*PAIR, PAIR[0]])
    with pytest.raises(ValidationError, match="at least 1 item"):
        _params(measures=[])


def test_networks_that_saw_other_stimuli_are_refused(tmp_path):
    one, other = make_features(_layers(0)), make_features(_layers(1))
    other = Tensors(other.tensors, {**other.meta, "stimulus_ids_sha256": "0" * 64})
    handles = store(tmp_path / "features", {"letters/net_a": one, "letters/net_b": other})
    with pytest.raises(ValueError, match="different stimuli of letters, or another order: net_a and net_b"):
        plan_similarity_matrices(handles, _params())


def test_features_that_are_not_finite_are_refused_by_name(tmp_path):
    broken = {"late": _draw(0)}
    broken["late"][3, 1] = np.nan
    members = {"letters/net_a": make_features(_layers(0)), "letters/net_b": make_features(broken)}
    plan = plan_similarity_matrices(store(tmp_path / "features", members), _params())
    with pytest.raises(
        ValueError,
        match=r"features letters/net_b, layer late, contain 1 values .* recompute=features/letters/net_b",
    ):
        list(plan[f"letters/{PAIR[0]}"].compute.compute([f"letters/{PAIR[0]}"]))


def test_measures_of_outputs_need_a_layer_of_logits():
    message = (
        "disagreement compares outputs .logits. of classifiers, which layer 'final' may not contain; name"
    )
    with pytest.raises(ValidationError, match=message):
        _params(measures=["cka_linear_biased", "disagreement"])


def test_measures_of_outputs_read_their_own_layer(tmp_path, features):
    measures = ["cka_linear_biased", "disagreement"]
    handles = _compare(tmp_path, features, measures=measures, outputs_layer="early")
    picked = [_draw(seed + 100, 7).astype(np.float32).argmax(axis=1) for seed in range(3)]
    share = np.mean(picked[0] != picked[1])
    assert handles["letters/disagreement"].matrix().values[0, 1] == share
    assert handles["letters/disagreement"].recipe["layers"]["net_a"] == "early"
    assert handles["letters/cka_linear_biased"].recipe["layers"]["net_a"] == "late"


def test_members_are_in_the_order_of_the_networks_whatever_the_order_of_the_features(features):
    backwards = dict(reversed(list(features.items())))
    assert _recipes(backwards) == _recipes(features)
    assert all(a <= b for a, b in pairwise(sorted(_recipes(features))))


def test_flat_stimuli_are_left_out_of_pairs_that_have_them_where_asked_and_counted(tmp_path, caplog):
    flat = _draw(1)
    flat[[2, 5]] = 0
    members = {f"letters/net_{name}": x for name, x in zip("abc", (_draw(0), flat, _draw(2)), strict=True)}
    features = store(tmp_path / "features", {key: make_features({"late": x}) for key, x in members.items()})
    chosen = {"measures": ["rsa_cosine_pearson", "cka_linear_biased"]}
    kept, left_out = _recipes(features, **chosen), _recipes(features, **chosen, flat_stimuli="leave_out")
    assert left_out == {key: {**recipe, "flat_stimuli": "leave_out"} for key, recipe in kept.items()}
    plain = _compare(tmp_path, features, **chosen)["letters/rsa_cosine_pearson"].matrix()
    assert np.isnan(plain.values[0, 1])
    assert "n_left_out" not in plain.meta
    with caplog.at_level("INFO"):
        found = _compare(tmp_path, features, **chosen, flat_stimuli="leave_out")
    matrix = found["letters/rsa_cosine_pearson"].matrix()
    assert not np.isnan(matrix.values).any()
    assert matrix.values[0, 2] == plain.values[0, 2]
    assert matrix.meta["n_left_out"] == [[0, 2, 0], [2, 2, 2], [0, 2, 0]]
    assert "rsa_cosine_pearson leaves out up to 2 stimuli" in caplog.text
    assert "n_left_out" not in found["letters/cka_linear_biased"].matrix().meta
