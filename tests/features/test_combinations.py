"""Combinations of networks: side by side, reduced on the training stimuli, rows of length one."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler, normalize
from tests.reference import feature_transform as reference
from tests.small_collections import make_features, store

from rep_kedro.features import Combination, FeatureView, FittedOn, list_combinations

torch.set_num_threads(1)
N, N_TRAIN = 30, 20
TRAIN = FittedOn("train", lambda: torch.arange(N) < N_TRAIN)
REDUCED = {"pca": {"variance": 0.99}}


def _draw(seed, width):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(N, width)) * np.geomspace(3.0, 0.1, width) + 1.0).astype(np.float32)


@pytest.fixture
def features(tmp_path):
    members = {
        "letters/net_a": make_features({"early": _draw(9, 3), "late": _draw(0, 6)}),
        "letters/net_b": make_features({"early": _draw(8, 4), "late": _draw(1, 9)}),
        "letters/net_c": make_features({"only": _draw(2, 5)}),
        "clouds/net_c": make_features({"only": _draw(3, 5)}),
    }
    return store(tmp_path / "features", members)


def _combine(features, transform=(), sets=("letters",), fitted_on=TRAIN, **entries):
    entries = {name: Combination.model_validate(entry) for name, entry in entries.items()}
    available = {s: sorted(k.partition("/")[2] for k in features if k.startswith(f"{s}/")) for s in sets}

    def view(key):
        return FeatureView(features[key], transform=transform, fitted_on=fitted_on)

    return list_combinations(entries, available, view, lambda _: fitted_on)


def test_concatenation_is_side_by_side_with_rows_of_length_one(features):
    [source] = _combine(features, both={"models": ["net_b", "net_a"]})
    assert source.key == "letters/both"
    assert source.meta["layers"] == ["combined"]
    assert source.meta["final_layer"] == "combined"
    assert source.meta["stimulus_ids_sha256"] == features["letters/net_a"].meta["stimulus_ids_sha256"]
    seen = source.open().tensor("combined")
    expected = reference.unit_length(np.hstack([_draw(1, 9), _draw(0, 6)]))
    np.testing.assert_allclose(seen, expected, atol=1e-6)
    assert seen.dtype == np.float32


def test_reduction_is_that_of_the_study_fitted_on_training_stimuli(features):
    entry = {"models": ["net_a", "net_b"], "reduce": REDUCED}
    [source] = _combine(features, transform=("unit_length",), both=entry)
    beside = np.hstack([normalize(_draw(0, 6).astype(float)), normalize(_draw(1, 9).astype(float))])
    scaler = StandardScaler().fit(beside[:N_TRAIN])
    pca = PCA(n_components=0.99, svd_solver="full").fit(scaler.transform(beside[:N_TRAIN]))
    expected = normalize(pca.transform(scaler.transform(beside)))
    seen = source.open().tensor("combined")
    signs = np.sign((seen * expected).sum(axis=0))
    np.testing.assert_allclose(seen, expected * signs, atol=1e-5)


def test_test_stimuli_do_not_change_what_is_fitted(tmp_path, features):
    entry = {"models": ["net_a", "net_b"], "reduce": REDUCED}
    changed = _draw(0, 6)
    changed[N_TRAIN:] *= 100
    members = {
        "letters/net_a": make_features({"late": changed}),
        "letters/net_b": make_features({"late": _draw(1, 9)}),
    }
    others = store(tmp_path / "others", members)
    [ours], [theirs] = _combine(features, both=entry), _combine(others, both=entry)
    ours, theirs = ours.open().tensor("combined"), theirs.open().tensor("combined")
    np.testing.assert_array_equal(ours[:N_TRAIN], theirs[:N_TRAIN])
    assert np.abs(ours[N_TRAIN:] - theirs[N_TRAIN:]).max() > 0.1


def test_what_transforms_learned_is_kept_by_network(features):
    entry = {"models": ["net_a", "net_b"], "reduce": REDUCED}
    [source] = _combine(features, transform=("centre",), both=entry)
    reading = source.open()
    reading.tensor("combined")
    names = set(reading.pack_fitted())
    own = {f"combined/transform/{net}/0-centre/offset" for net in ("net_a", "net_b")}
    assert own < names
    assert {name for name in names if name.startswith("combined/transform/")} == names
    assert names - own == {
        "combined/transform/0-standardise/offset",
        "combined/transform/0-standardise/scale",
        "combined/transform/1-pca/offset",
        "combined/transform/1-pca/axes",
        "combined/transform/2-unit_length/nothing",
    }


def test_a_reference_changes_with_members_layers_order_and_reduction(features):
    references = [
        str(_combine(features, **options)[0].reference)
        for options in (
            {"both": {"models": ["net_a", "net_b"]}},
            {"both": {"models": ["net_b", "net_a"]}},
            {"both": {"models": ["net_a", "net_c"]}},
            {"both": {"models": ["net_a", "net_b"], "layer": "early"}},
            {"both": {"models": ["net_a", "net_b"], "reduce": REDUCED}},
            {"transform": ("unit_length",), "both": {"models": ["net_a", "net_b"]}},
            {"fitted_on": None, "both": {"models": ["net_a", "net_b"]}},
        )
    ]
    assert len(set(references)) == len(references)


def test_a_set_on_which_no_network_of_a_combination_has_features_is_passed_over(features):
    made = _combine(features, sets=("letters", "clouds"), both={"models": ["net_a", "net_b"]})
    assert [source.key for source in made] == ["letters/both"]


@pytest.mark.parametrize(
    ("sets", "entry", "message"),
    [
        (["letters"], {"models": ["net_a", "net_bb"]}, "names 'net_bb', .* did you mean 'net_b'"),
        (["clouds"], {"models": ["net_c", "net_a"]}, "'net_a', which has no features of 'clouds'"),
        (["letters"], {"models": ["nett_a", "x"]}, "names no network with features; did you mean 'net_a'"),
        (
            ["letters"],
            {"models": ["net_a", "net_c"], "layer": "late"},
            "net_c has no layer 'late'; known",
        ),
    ],
)
def test_a_combination_that_cannot_be_made_is_refused(features, sets, entry, message):
    with pytest.raises(ValueError, match=message):
        _combine(features, sets=sets, both=entry)


def test_the_name_of_a_network_is_taken(features):
    with pytest.raises(ValueError, match="combination 'net_c' has the name of a network"):
        _combine(features, net_c={"models": ["net_a", "net_b"]})


def test_networks_that_saw_other_stimuli_cannot_be_combined(tmp_path, features):
    short = store(tmp_path / "short", {"letters/net_s": make_features({"late": _draw(0, 6)[:9]})})
    with pytest.raises(ValueError, match="networks of combination 'both' saw different stimuli of letters"):
        _combine({**features, **short}, both={"models": ["net_a", "net_s"]})


def test_stimuli_without_length_side_by_side_are_refused_by_the_combinations_name(tmp_path):
    x = _draw(0, 6)
    x[4] = 0.0
    members = {f"letters/{name}": make_features({"late": x}) for name in ("net_a", "net_b")}
    [source] = _combine(store(tmp_path / "zero", members), both={"models": ["net_a", "net_b"]})
    with pytest.raises(ValueError, match=r"combination letters/both: 1 rows have length zero .* rows \[4\]"):
        source.open().tensor("combined")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"models": ["net_a"]}, "at least 2"),
        ({"models": ["net_a", "net_b", "net_a"]}, "names networks twice: net_a"),
        ({"models": ["net_a", "net_b"], "reduce": "pca"}, "reduce is none or {pca: .*, got 'pca'"),
        ({"models": ["net_a", "net_b"], "reduce": {"pca": {"variance": 2}}}, "less than 1"),
        ({"models": ["net_a", "net_b"], "weights": [1, 2]}, "Extra inputs are not permitted"),
    ],
)
def test_a_mistaken_combination_is_refused(entry, message):
    with pytest.raises(ValidationError, match=message):
        Combination.model_validate(entry)
