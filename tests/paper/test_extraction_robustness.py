"""Extraction when memory is short, in mixed precision, with channels innermost; groups of networks."""

import json

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.small_collections import ARROW, make_network, make_stimuli, make_subset, run_plan, store

from rep_kedro.datasets import CollectionError
from rep_kedro.features import extraction
from rep_kedro.features.params import FeaturesParams
from rep_kedro.models.layers import LayerReader
from rep_kedro.pipelines.features.nodes import plan_features
from rep_kedro.stimuli.limits import DEFAULT_LIMITS

N_STIMULI = 13
VIT = {"source": "timm", "name": "test_vit", "pretrained": False, "layers": ["blocks.*"], "size_px": 64}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    pixels = np.random.default_rng(0).integers(0, 255, (N_STIMULI, 20, 20, 3), dtype=np.uint8)
    labels, splits = [i % 3 for i in range(N_STIMULI)], ["train"] * 9 + ["test"] * 4
    sets = {name: make_stimuli(pixels, labels, splits, ["a", "b", "c"]) for name in ("dots", "spots")}
    subsets = {f"{name}/analysis": make_subset(labels, splits) for name in sets}
    networks = {"cnn_supervised_s0": make_network("cnn", seed=0, n_classes=3, stimulus_set="dots")}
    return (
        store(folder / "sets", sets, ARROW),
        store(folder / "subsets", subsets, ARROW),
        store(folder / "networks", networks),
    )


def _params(**changes):
    return FeaturesParams.model_validate({"batch_size": 8, **changes})


def _fail_above(monkeypatch, n_images, error):
    """Let the reading of more images than that at a time run out of memory; return the sizes asked for."""
    sizes, read = [], LayerReader.read

    def limited(self, x, *args, **options):
        sizes.append(len(x))
        if len(x) > n_images:
            raise error
        return read(self, x, *args, **options)

    monkeypatch.setattr(LayerReader, "read", limited)
    return sizes


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
    ],
)
def test_a_batch_that_does_not_fit_is_halved_and_the_rows_stay_the_same(
    inputs, tmp_path, monkeypatch, caplog, error
):
    whole = run_plan(tmp_path / "whole", plan_features(*inputs, _params()))
    with monkeypatch.context() as patched:
        sizes = _fail_above(patched, 3, error)
        halved = run_plan(tmp_path / "halved", plan_features(*inputs, _params()))
    # 8 -> 4 -> 2; the rest of the first set and the second set are read two at a time
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 2, 1, *[2] * 6, 1]
    assert [record.getMessage() for record in caplog.records if "does not fit" in record.getMessage()] == [
        "a batch of 8 images does not fit into memory; continuing with 4",
        "a batch of 4 images does not fit into memory; continuing with 2",
    ]
    for key, handle in whole.items():
        assert handle.names == halved[key].names
        for layer in handle.names:
            np.testing.assert_allclose(halved[key].tensor(layer), handle.tensor(layer), rtol=1e-5, atol=1e-6)


def test_one_image_that_does_not_fit_fails_its_member_with_the_reason(inputs, tmp_path, monkeypatch):
    _fail_above(monkeypatch, 0, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(CollectionError, match=r"2 of 2 members failed.*\n.*CUDA out of memory"):
        run_plan(tmp_path, plan_features(*inputs, _params()))


def test_other_errors_are_not_taken_for_want_of_memory(inputs, tmp_path, monkeypatch):
    sizes = _fail_above(monkeypatch, 0, RuntimeError("shapes do not fit"))
    with pytest.raises(CollectionError, match="shapes do not fit"):
        run_plan(tmp_path, plan_features(*inputs, _params(stimulus_sets=["dots"])))
    assert sizes == [8]


def test_a_network_is_loaded_once_for_all_its_sets(inputs, tmp_path, monkeypatch):
    from rep_kedro.models.sources import zoo

    loaded, build = [], zoo.build_model
    monkeypatch.setattr(
        zoo, "build_model", lambda entry, **o: (loaded.append(entry.name), build(entry, **o))[1]
    )
    run_plan(tmp_path, plan_features(*inputs, _params(networks=[], models={"vit": VIT})))
    assert loaded == ["test_vit"]


@pytest.mark.parametrize("decode_threads", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_decoding_ahead_keeps_the_order(inputs, decode_threads, batch_size):
    from rep_kedro.models.sources.loaded import LoadedModel
    from rep_kedro.models.trained import preprocessing_of, restore_trained_network

    network = inputs[2]["cnn_supervised_s0"]
    model = LoadedModel(restore_trained_network(network), preprocessing_of(network), ("relu1",))
    images = inputs[0]["dots"].table(["image"])["image"].to_pylist()
    groups = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
    encoded = extraction._with_names(iter(groups), [str(number) for number in range(len(images))])
    reading = extraction.Reading(batch_size, decode_threads=decode_threads)
    batches = list(extraction._decode_ahead(encoded, model, reading, DEFAULT_LIMITS))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    expected = extraction.make_pixels(images, model.preprocessing)
    assert np.array_equal(torch.cat(batches).numpy(), expected)


@pytest.mark.parametrize(("device", "is_pinned"), [("cpu", False), ("cuda:1", True)])
def test_pixels_for_a_gpu_are_decoded_into_pinned_memory(inputs, monkeypatch, device, is_pinned):
    from rep_kedro.models.sources.loaded import LoadedModel
    from rep_kedro.models.trained import preprocessing_of, restore_trained_network

    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: (pinned.append(self.shape), self)[1])
    network = inputs[2]["cnn_supervised_s0"]
    model = LoadedModel(restore_trained_network(network), preprocessing_of(network), ("relu1",))
    images = inputs[0]["dots"].table(["image"])["image"].to_pylist()
    batch = (images, [str(number) for number in range(len(images))])
    pixels = extraction._decode(batch, model, extraction.Reading(8, device=device), DEFAULT_LIMITS)
    assert bool(pinned) == is_pinned
    assert np.array_equal(pixels.numpy(), extraction.make_pixels(images, model.preprocessing))


def test_precision_is_recorded_where_it_is_changed_and_only_there(inputs):
    def recipe(**changes):
        return json.dumps(plan_features(*inputs, _params(**changes))["dots/cnn_supervised_s0"].recipe)

    plain = recipe()
    assert "autocast" not in plain
    assert "channels_last" not in plain
    assert recipe(decode_threads=4) == plain
    assert '"autocast": "bfloat16"' in recipe(autocast="bfloat16")
    assert '"channels_last": true' in recipe(channels_last=True)


def test_mixed_precision_is_close_and_stored_as_float32(inputs, tmp_path):
    full, mixed = (
        run_plan(tmp_path / str(kind), plan_features(*inputs, _params(autocast=kind, stimulus_sets=["dots"])))
        for kind in (None, "bfloat16")
    )
    for layer in ("relu1", "relu5"):
        a, b = (found["dots/cnn_supervised_s0"].tensor(layer) for found in (full, mixed))
        assert b.dtype == np.float32
        assert not np.array_equal(a, b)
        np.testing.assert_allclose(a, b, rtol=0.1, atol=0.03 * float(a.max()))


def test_channels_innermost_change_last_digits_at_most(inputs, tmp_path):
    plain, last = (
        run_plan(
            tmp_path / str(on), plan_features(*inputs, _params(channels_last=on, stimulus_sets=["dots"]))
        )
        for on in (False, True)
    )
    for layer in plain["dots/cnn_supervised_s0"].names:
        a, b = (found["dots/cnn_supervised_s0"].tensor(layer) for found in (plain, last))
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_the_image_layout_is_the_one_asked_for(inputs):
    from rep_kedro.models.sources.loaded import LoadedModel
    from rep_kedro.models.trained import preprocessing_of, restore_trained_network

    network = inputs[2]["cnn_supervised_s0"]
    model = LoadedModel(restore_trained_network(network), preprocessing_of(network), ("relu1",))
    reading = extraction.Reading(4, channels_last=True)
    reading.place(model.module)
    images = extraction._to_input(torch.zeros(2, 3, 16, 16, dtype=torch.uint8), model, reading)
    assert images.is_contiguous(memory_format=torch.channels_last)
    weight = model.module.get_submodule("conv2").weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_groups_add_their_networks_and_null_leaves_one_out():
    groups = {"more": {"b": VIT, "c": VIT}, "rest": {"d": VIT}}
    given = {"models": {"a": VIT, "x": None}, "model_groups": groups}
    assert list(_params(**given).entries()) == ["a"]
    assert list(_params(**given, groups="more+rest").entries()) == ["a", "b", "c", "d"]
    assert list(_params(**given, groups=["rest"]).entries()) == ["a", "d"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"groups": "mre", "model_groups": {"more": {}}},
            "unknown group 'mre'; did you mean 'more'",
        ),
        ({"groups": "more"}, "unknown group 'more'; known: none"),
        (
            {"groups": "more", "models": {"a": VIT}, "model_groups": {"more": {"a": {**VIT, "seed": 1}}}},
            "group 'more' redefines 'a' with another value",
        ),
        ({"autocast": "float8"}, "autocast"),
        ({"decode_threads": 0}, "decode_threads"),
    ],
)
def test_bad_groups_and_options_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        _params(**changes)
