"""Features laid over another space by an affine map from a file."""

import json

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.numpy import save_file
from tests.small_collections import ARROW, make_network, make_stimuli, make_subset, run_plan, store

from rep_kedro.features.params import FeaturesParams
from rep_kedro.models.alignment import load_alignment
from rep_kedro.models.places import Alignment
from rep_kedro.models.sources.specs import ModelEntry
from rep_kedro.pipelines.features.nodes import plan_features

RNG = np.random.default_rng(0)
ARRAYS = {
    "weights": RNG.standard_normal((6, 4)),
    "bias": RNG.standard_normal(4),
    "mean": RNG.standard_normal(6),
    "std": RNG.random(6) + 0.5,
}
TRAINED = {"source": "trained", "network": "net"}


def _write(path, arrays):
    np.savez(path, **arrays) if path.suffix == ".npz" else save_file(arrays, path)
    return Alignment(path=str(path))


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("left_out", [(), ("bias",), ("mean", "std"), ("bias", "mean", "std")])
def test_the_map_is_the_published_formula(tmp_path, suffix, left_out):
    arrays = {name: value for name, value in ARRAYS.items() if name not in left_out}
    features = RNG.standard_normal((5, 6)).astype(np.float32)
    found = load_alignment(_write(tmp_path / f"transform{suffix}", arrays)).apply(features)
    expected = np.zeros((5, 4))
    for i in range(5):
        for k in range(4):
            for j in range(6):
                scaled = (float(features[i, j]) - arrays.get("mean", [0] * 6)[j]) / arrays.get(
                    "std", [1] * 6
                )[j]
                expected[i, k] += scaled * arrays["weights"][j, k]
            expected[i, k] += arrays.get("bias", [0] * 4)[k]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert found.dtype == np.float32


def test_mean_and_std_may_be_single_numbers(tmp_path):
    single = {"weights": ARRAYS["weights"], "mean": np.array(0.25), "std": np.array([2.0])}
    found = load_alignment(_write(tmp_path / "t.npz", single)).apply(np.ones((2, 6)))
    np.testing.assert_allclose(found, np.full((2, 6), 0.375) @ ARRAYS["weights"], rtol=1e-6)


def test_large_offsets_keep_their_digits(tmp_path):
    arrays = {"weights": np.eye(2), "mean": np.full(2, 1e7), "std": np.full(2, 1e-3)}
    features = np.array([[1e7 + 1, 1e7 - 2]], dtype=np.float32)
    found = load_alignment(_write(tmp_path / "t.npz", arrays)).apply(torch.from_numpy(features))
    np.testing.assert_allclose(found, [[1000, -2000]], rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"weights": None},
            "must contain weights, and optionally bias, mean and std; it has bias, mean, std",
        ),
        ({"scale": np.ones(2)}, "it has bias, mean, scale, std, weights"),
        ({"weights": np.ones(6)}, r"weights must be a matrix, got shape \(6,\)"),
        ({"bias": np.ones(6)}, r"bias must be one number or 4, got shape \(6,\)"),
        ({"std": np.ones((2, 3))}, r"std must be one number or 6, got shape \(2, 3\)"),
        ({"std": np.array([1, 1, 0, 1, 1, 1])}, "std must be positive, its smallest value is 0"),
        ({"mean": np.full(6, np.nan)}, "mean contains NaN or infinity"),
        ({"weights": np.array([["a", "b"]])}, "contains values that are not numbers"),
        ({"weights": np.array([[print]], dtype=object)}, "is damaged or contains more than arrays"),
    ],
)
def test_files_that_hold_no_such_map_are_refused_in_one_line(tmp_path, changes, message):
    arrays = {name: value for name, value in {**ARRAYS, **changes}.items() if value is not None}
    with pytest.raises(ValueError, match=message) as caught:
        load_alignment(_write(tmp_path / "t.npz", arrays))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.npz", b"PK nothing", "is damaged or contains more than arrays"),
        ("t.safetensors", b"nothing", "is damaged"),
        ("t.pkl", b"", r"has suffix '\.pkl'; known: \.npz, \.safetensors"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_alignment(Alignment(path=str(tmp_path / name)))


def test_an_alignment_is_of_one_layer():
    with pytest.raises(
        ValidationError, match=r"alignment applies to one layer; name exactly one in layers, got \['a', 'b'\]"
    ):
        TypeAdapter(ModelEntry).validate_python(
            {**TRAINED, "layers": ["a", "b"], "alignment": {"path": "t.npz"}}
        )


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    pixels = RNG.integers(0, 255, (7, 16, 16, 3), dtype=np.uint8)
    labels, splits = [i % 3 for i in range(7)], ["train"] * 5 + ["test"] * 2
    return (
        store(folder / "sets", {"dots": make_stimuli(pixels, labels, splits, ["a", "b", "c"])}, ARROW),
        store(folder / "subsets", {"dots/analysis": make_subset(labels, splits)}, ARROW),
        store(folder / "networks", {"net": make_network("cnn", seed=0, n_classes=3, stimulus_set="dots")}),
    )


def _plan(inputs, **entry):
    models = {"aligned": {**TRAINED, "layers": ["relu1"], **entry}}
    return plan_features(*inputs, FeaturesParams.model_validate({"networks": [], "models": models}))


def test_the_features_of_an_aligned_entry_are_those_of_the_plain_one_mapped(inputs, tmp_path):
    plain = run_plan(tmp_path / "plain", _plan(inputs))["dots/aligned"]
    values = plain.tensor("relu1")
    alignment = _write(tmp_path / "t.npz", {"weights": RNG.standard_normal((values.shape[1], 9))})
    aligned = run_plan(tmp_path / "aligned", _plan(inputs, alignment=alignment.model_dump()))["dots/aligned"]
    np.testing.assert_allclose(aligned.tensor("relu1"), load_alignment(alignment).apply(values))
    assert aligned.shape("relu1") == (7, 9)
    assert aligned.meta["alignment"] == "affine"
    assert aligned.recipe["model"]["alignment"]["kind"] == "affine"
    assert "alignment" not in json.dumps(dict(plain.recipe))


def test_the_content_of_the_file_is_part_of_the_recipe_and_its_place_is_not(inputs, tmp_path):
    def recipe(name, scale):
        alignment = _write(tmp_path / name, {"weights": ARRAYS["weights"] * scale})
        return _plan(inputs, alignment=alignment.model_dump())["dots/aligned"].recipe

    a, moved, changed = recipe("a.npz", 1), recipe("b.npz", 1), recipe("c.npz", 2)
    assert a == moved
    assert a != changed


def test_a_map_of_another_width_fails_its_member_with_both_widths(inputs, tmp_path):
    alignment = _write(tmp_path / "t.npz", {"weights": ARRAYS["weights"]})
    with pytest.raises(Exception, match=r"the alignment is for 6 features, got shape \(7, \d+\)"):
        run_plan(tmp_path / "x", _plan(inputs, alignment=alignment.model_dump()))


def test_a_missing_file_is_named_while_planning(inputs):
    plan = _plan(inputs, alignment={"path": "no.npz"})
    assert not plan
    [reason] = set(plan.left_out.values())
    assert "alignment no.npz does not exist" in reason
