"""Views of features: chosen rows, transforms, and what they say of themselves."""

import logging

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from tests.reference import feature_transform as reference
from tests.small_collections import ARROW, make_features, make_subset, run_plan, store

from rep_kedro.datasets import Planned, Tensors
from rep_kedro.features import FeatureView, FittedOn, RowFinder, Transform, describe
from rep_kedro.features.chain import apply_steps, fit_and_apply, pack_steps, unpack_steps

torch.set_num_threads(1)
N = 12
PCA = {"pca": {"variance": 0.99}}


def _steps(*steps):
    return TypeAdapter(Transform).validate_python(steps)


def _layers():
    return {"early": np.random.default_rng(1).normal(size=(N, 5)) + 2.0, "late": _late()}


def _late():
    return np.random.default_rng(0).normal(size=(N, 4)) * [5.0, 1.0, 0.5, 0.1] + 1.0


@pytest.fixture
def handle(tmp_path):
    return store(tmp_path / "features", {"letters/net": make_features(_layers())})["letters/net"]


def _subset(rows):
    return make_subset([0] * N, ["train"] * N).take(list(rows))


def _subsets(tmp_path, **rows):
    tables = {f"letters/{name}": _subset(chosen) for name, chosen in rows.items()}
    return store(tmp_path / "subsets", tables, ARROW)


def test_a_view_without_rows_and_transform_is_the_features_as_they_are_stored(handle):
    view = FeatureView(handle)
    assert view.is_plain
    assert view.reference == handle.reference
    assert view.meta == handle.meta
    seen = view.open().tensor("late")
    np.testing.assert_array_equal(seen, _late().astype(np.float32))
    assert not seen.flags.owndata


def test_a_transform_is_made_in_its_order(handle):
    x = _late().astype(np.float32)
    first = FeatureView(handle, transform=_steps("centre", "unit_length")).open().tensor("late")
    second = FeatureView(handle, transform=_steps("unit_length", "centre")).open().tensor("late")
    np.testing.assert_allclose(first, reference.unit_length(reference.centre(x, x)), atol=1e-6)
    rows = reference.unit_length(x)
    np.testing.assert_allclose(second, reference.centre(rows, rows), atol=1e-6)
    assert np.abs(first - second).max() > 0.1


def test_a_transform_is_fitted_on_the_rows_it_is_given(handle):
    x = _late().astype(np.float32)
    on = FittedOn("first half", lambda: torch.arange(N) < N // 2)
    view = FeatureView(handle, transform=_steps("standardise", PCA, "unit_length"), fitted_on=on)
    half = reference.standardise(x[: N // 2], x[: N // 2])
    components = reference.pca(half, reference.standardise(x[: N // 2], x), variance=0.99)
    np.testing.assert_allclose(view.open().tensor("late"), reference.unit_length(components), atol=1e-5)


def test_rows_are_those_of_the_subsets_stimuli_in_their_order(tmp_path, handle):
    subsets = _subsets(tmp_path, analysis=range(N), few=[7, 2, 3])
    rows = RowFinder(subsets).find(handle, subsets["letters/few"])
    view = FeatureView(handle, rows=rows)
    np.testing.assert_array_equal(view.open().tensor("late"), _late().astype(np.float32)[[7, 2, 3]])
    assert view.meta["n_stimuli"] == 3
    assert view.meta["layers"] == ["early", "late"]
    made = make_features({"late": _late()[:3]}).meta["stimulus_ids_sha256"]
    assert view.meta["stimulus_ids_sha256"] not in (made, handle.meta["stimulus_ids_sha256"])
    assert not view.is_plain


def test_rows_are_chosen_before_the_transform_is_fitted(tmp_path, handle):
    subsets = _subsets(tmp_path, analysis=range(N), few=[7, 2, 3])
    rows = RowFinder(subsets).find(handle, subsets["letters/few"])
    seen = FeatureView(handle, rows=rows, transform=_steps("centre")).open().tensor("late")
    np.testing.assert_allclose(seen.mean(axis=0), 0.0, atol=1e-6)


def test_fewer_principal_components_than_asked_for_are_reported_in_the_log(handle, caplog):
    n_directions = min(N - 1, _late().shape[1])
    with caplog.at_level(logging.INFO):
        FeatureView(handle, transform=_steps({"pca": {"n_components": n_directions}})).open().tensor("late")
        FeatureView(handle, transform=_steps({"pca": {"variance": 0.9}}, "centre")).open().tensor("late")
        assert not caplog.messages
        found = FeatureView(handle, transform=_steps("centre", {"pca": {"n_components": 500}})).open()
        assert found.tensor("late").shape == (N, n_directions)
    assert caplog.messages == [
        f"layer late of letters/net has {n_directions} principal components, not 500: "
        "its features vary in no more directions"
    ]


def test_the_subset_that_features_were_made_of_is_no_view(tmp_path, handle):
    subsets = _subsets(tmp_path, analysis=range(N), same=range(N))
    assert RowFinder(subsets).find(handle, subsets["letters/analysis"]) is None
    assert RowFinder(subsets).find(handle, subsets["letters/same"]) is None


def test_the_subset_named_in_the_features_recipe_is_known_without_reading(tmp_path, monkeypatch):
    subsets = _subsets(tmp_path, analysis=range(N))
    recipe = {"stimulus_subset": subsets["letters/analysis"].reference}
    plan = {"letters/net": Planned(recipe, lambda: make_features(_layers()))}
    handle = run_plan(tmp_path / "features", plan)["letters/net"]
    monkeypatch.setattr(type(subsets["letters/analysis"]), "table", lambda *_: pytest.fail("ids were read"))
    assert RowFinder(subsets).find(handle, subsets["letters/analysis"]) is None


def test_copies_of_stimuli_are_rows_of_their_own_and_the_log_says_so(tmp_path, handle, caplog):
    subsets = _subsets(tmp_path, analysis=range(N), drawn=[5, 5, 1, 5])
    with caplog.at_level(logging.WARNING):
        rows = RowFinder(subsets).find(handle, subsets["letters/drawn"])
    assert rows.indices.tolist() == [5, 5, 1, 5]
    assert "letters/drawn contains 2 copies of stimuli" in caplog.text


def test_a_subset_that_does_not_lie_within_that_of_the_features_is_refused(tmp_path):
    few = store(tmp_path / "features", {"letters/net": make_features({"late": _late()[:4]})})["letters/net"]
    subsets = _subsets(tmp_path, small=range(4), analysis=range(6))
    with pytest.raises(
        ValueError,
        match=r"2 of 6 stimuli of subset letters/analysis are not in letters/small, .* such as .'stimulus-4'",
    ):
        RowFinder(subsets).find(few, subsets["letters/analysis"])


def test_features_of_a_subset_that_is_gone_are_refused(tmp_path, handle):
    subsets = _subsets(tmp_path, few=[7, 2])
    with pytest.raises(ValueError, match=r"letters/net \(12 stimuli\) match no stored subset of 'letters'"):
        RowFinder(subsets).find(handle, subsets["letters/few"])


def test_a_reference_changes_with_the_view_and_holds_all_of_it(tmp_path, handle):
    subsets = _subsets(tmp_path, analysis=range(N), few=[7, 2, 3])
    rows = RowFinder(subsets).find(handle, subsets["letters/few"])
    on = FittedOn("some", lambda: torch.ones(N, dtype=torch.bool))
    views = [
        FeatureView(handle),
        FeatureView(handle, rows=rows),
        FeatureView(handle, transform=_steps("unit_length")),
        FeatureView(handle, transform=_steps("unit_length", PCA)),
        FeatureView(handle, transform=_steps(PCA, "unit_length")),
        FeatureView(handle, transform=_steps("unit_length"), fitted_on=on),
    ]
    references = [str(view.reference) for view in views]
    assert len(set(references)) == len(views)
    view = views[1].reference["view"]
    assert view["rows"] == subsets["letters/few"].reference
    assert views[3].reference["view"]["transform"] == ["unit_length", PCA]
    assert views[5].reference["view"]["fitted_on"] == "some"


def test_a_stimulus_without_length_is_named(tmp_path):
    x = _late()
    x[[3, 8]] = 0.0
    handle = store(tmp_path / "features", {"letters/net": make_features({"late": x})})["letters/net"]
    subsets = _subsets(tmp_path, analysis=range(N), few=[7, 8, 2])
    finder = RowFinder(subsets)
    view = FeatureView(handle, transform=_steps("unit_length"), ids=lambda: finder.ids_of(handle))
    with pytest.raises(ValueError, match="letters/net: 'stimulus-3', 'stimulus-8'; remove unit_length"):
        view.open().tensor("late")
    rows = finder.find(handle, subsets["letters/few"])
    with pytest.raises(ValueError, match="layer late of features letters/net: row 8;"):
        FeatureView(handle, rows=rows, transform=_steps("unit_length")).open().tensor("late")


def test_features_that_are_not_finite_are_not_transformed(tmp_path):
    x = _late()
    x[3, 1] = np.inf
    handle = store(tmp_path / "features", {"letters/net": make_features({"late": x})})["letters/net"]
    with pytest.raises(ValueError, match="features letters/net, layer late, contain 1 values that are NaN"):
        FeatureView(handle, transform=_steps("centre")).open().tensor("late")


def test_fitted_steps_come_back_from_where_they_are_stored(tmp_path):
    x, others = torch.from_numpy(_late()), torch.from_numpy(_late()[::-1] * 2)
    _, fitted = fit_and_apply(x, _steps("standardise", "centre", PCA, "unit_length"))
    packed = Tensors(pack_steps("late/transform", fitted))
    member = store(tmp_path / "probes", {"letters/net": packed})["letters/net"]
    restored = unpack_steps(member, "late/transform")
    assert [step.name for step in restored] == ["standardise", "centre", "pca", "unit_length"]
    torch.testing.assert_close(apply_steps(others, restored), apply_steps(others, fitted), rtol=0, atol=1e-5)
    assert unpack_steps(member, "early/transform") == []


def test_a_transform_leaves_what_it_reads_as_it_is():
    x = torch.from_numpy(_late())
    before = x.clone()
    fit_and_apply(x, _steps("unit_length", "centre", "standardise", PCA))
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (["unit_lenght"], "unknown transform 'unit_lenght'; did you mean 'unit_length'"),
        (["whiten"], "unknown transform 'whiten'; known: centre, pca, standardise, unit_length"),
        (["pca"], "principal components are written"),
        ([3], "a transform is one of unit_length, centre, standardise or .*, got 3"),
        ([{"pca": {}}], "pca needs either n_components or variance"),
        ([{"pca": {"variance": 0.9, "n_components": 3}}], "pca needs either n_components or variance"),
        ([{"pca": {"variance": 1.5}}], "less than 1"),
        ([{"pca": {"n_components": 0}}], "greater than 0"),
        ([{"pca": {"components": 5}}], "Extra inputs are not permitted"),
    ],
)
def test_a_mistaken_transform_is_refused(steps, message):
    with pytest.raises(ValidationError, match=message):
        _steps(*steps)


def test_a_transform_is_plain_data_in_recipes():
    assert describe(_steps("centre", {"pca": {"n_components": 3}})) == [
        "centre",
        {"pca": {"n_components": 3}},
    ]
