"""The features pipeline on a handful of stimuli: plans, members, order, registry entries, cards."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from tests.small_collections import ARROW, make_network, make_stimuli, make_subset, run_plan, store

from rep_kedro.datasets import CollectionError, Handles
from rep_kedro.features.cards import compute_model_cards
from rep_kedro.features.params import FeaturesParams
from rep_kedro.models.network import scale_images_in_unit_range
from rep_kedro.models.trained import restore_trained_network
from rep_kedro.pipelines.features.nodes import plan_features
from rep_kedro.stimuli.decoding import decode_images

N_STIMULI = 9
PERMUTED = [7, 2, 5, 0]
VIT = {"source": "timm", "name": "test_vit", "pretrained": False, "layers": ["blocks.*"], "size_px": 64}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    pixels = np.random.default_rng(0).integers(0, 255, (N_STIMULI, 20, 20, 3), dtype=np.uint8)
    labels, splits = [i % 3 for i in range(N_STIMULI)], ["train"] * 6 + ["test"] * 3
    sets = {name: make_stimuli(pixels, labels, splits, ["a", "b", "c"]) for name in ("dots", "spots")}
    subset = make_subset(labels, splits)
    subsets = {
        "dots/analysis": subset.take(PERMUTED),
        "spots/analysis": subset,
        "spots/few": subset.slice(0, 2),
        "dots/few": subset.slice(0, 2),
    }
    networks = {
        "cnn_supervised_s0": make_network("cnn", seed=0, n_classes=3, stimulus_set="dots"),
        "small_resnet_simclr_s1": make_network(
            "small_resnet", seed=1, n_classes=None, stimulus_set="dots", objective="simclr"
        ),
        "cnn_untrained_s0": make_network(
            "cnn", seed=2, n_classes=3, stimulus_set="dots", objective="untrained"
        ),
    }
    return (
        store(folder / "sets", sets, ARROW),
        store(folder / "subsets", subsets, ARROW),
        store(folder / "networks", networks),
    )


@pytest.fixture(scope="module")
def features(inputs, tmp_path_factory):
    return run_plan(tmp_path_factory.mktemp("features"), plan_features(*inputs, _params(models={"vit": VIT})))


def _params(**changes):
    return FeaturesParams.model_validate({"batch_size": 4, **changes})


def _recipes(plan):
    return {key: json.dumps(planned.recipe, sort_keys=True) for key, planned in plan.items()}


def test_every_network_and_model_is_shown_every_set(features):
    models = ["cnn_supervised_s0", "cnn_untrained_s0", "small_resnet_simclr_s1", "vit"]
    assert sorted(features) == sorted(f"{name}/{model}" for name in ("dots", "spots") for model in models)


def test_rows_are_the_subset_in_its_order_and_values_those_of_the_network(inputs, features):
    stimulus_sets, _, networks = inputs
    handle = features["dots/cnn_supervised_s0"]
    images = stimulus_sets["dots"].table(["image"])["image"].take(PERMUTED)
    network = restore_trained_network(networks["cnn_supervised_s0"])
    pixels = torch.from_numpy(decode_images(images, size_px=16))
    x = scale_images_in_unit_range(pixels.float() / 255, network.architecture)
    with torch.no_grad():
        expected = network.run(x, stop_at="relu3").mean(dim=(2, 3))
    torch.testing.assert_close(torch.from_numpy(handle.tensor("relu3").copy()), expected)
    assert handle.tensor("relu3").dtype == np.float32


def test_members_say_what_they_hold(features):
    meta = features["spots/small_resnet_simclr_s1"].meta
    assert meta["layers"] == ["block1.relu2", "block2.relu2", "block3.relu2", "relu2"]
    assert meta["final_layer"] == "relu2"
    assert meta["n_stimuli"] == N_STIMULI
    ids = {features[key].meta["stimulus_ids_sha256"] for key in features if key.startswith("spots/")}
    assert len(ids) == 1
    assert features["dots/vit"].meta["stimulus_ids_sha256"] not in ids


def test_the_hash_of_the_ids_is_that_of_the_lines(features):
    import hashlib

    ids = "\n".join(f"stimulus-{i}" for i in PERMUTED)
    assert features["dots/vit"].meta["stimulus_ids_sha256"] == hashlib.sha256(ids.encode()).hexdigest()


def test_neither_batch_size_nor_device_is_part_of_a_recipe(inputs):
    assert _recipes(plan_features(*inputs, _params())) == _recipes(
        plan_features(*inputs, _params(batch_size=7, device="cuda"))
    )


def test_the_batch_size_changes_no_value(inputs, features, tmp_path):
    again = run_plan(tmp_path, plan_features(*inputs, _params(batch_size=N_STIMULI, stimulus_sets=["spots"])))
    for key, handle in again.items():
        for layer in handle.names:
            np.testing.assert_allclose(
                handle.tensor(layer), features[key].tensor(layer), rtol=1e-5, atol=1e-6
            )


def test_the_number_of_threads_changes_no_bit_of_a_small_network(inputs, tmp_path):
    before = torch.get_num_threads()
    one, two = (
        run_plan(tmp_path / str(n), plan_features(*inputs, _params(stimulus_sets=["spots"], threads=n)))
        for n in (1, 2)
    )
    assert torch.get_num_threads() == before
    for key, handle in one.items():
        assert handle.path.read_bytes() == two[key].path.read_bytes()


def test_recipes_change_with_what_they_name_and_with_nothing_else(inputs):
    before = _recipes(plan_features(*inputs, _params(models={"vit": VIT})))
    seeded = _recipes(plan_features(*inputs, _params(models={"vit": {**VIT, "seed": 1}})))
    assert [key for key in before if before[key] != seeded[key]] == ["dots/vit", "spots/vit"]
    remarked = _recipes(plan_features(*inputs, _params(models={"vit": {**VIT, "trained_on": "nothing"}})))
    assert remarked == before
    few = _recipes(plan_features(*inputs, _params(subset="few", models={"vit": VIT})))
    assert all(before[key] != few[key] for key in before)


def test_the_models_preprocessing_is_in_the_recipe(inputs):
    recipe = plan_features(*inputs, _params(models={"vit": VIT}))["dots/vit"].recipe
    preprocessing = recipe["model"]["preprocessing"]
    assert preprocessing["size_px"] == 64
    assert preprocessing["resize_px"] == 67  # 64 / 0.95, rounded down
    assert preprocessing["interpolation"] == "bicubic"
    assert recipe["model"]["layers"] == ["blocks.*"]


def test_one_load_serves_all_sets_of_a_model(inputs):
    plan = plan_features(*inputs, _params())
    assert plan["dots/cnn_supervised_s0"].compute is plan["spots/cnn_supervised_s0"].compute
    assert plan["dots/cnn_supervised_s0"].compute is not plan["dots/cnn_untrained_s0"].compute


def test_features_that_are_not_finite_name_layer_and_count(inputs, tmp_path):
    stimulus_sets, subsets, _ = inputs
    network = make_network("cnn", seed=0, n_classes=3, stimulus_set="dots")
    network.tensors["conv3.weight"][5] = torch.nan
    networks = store(tmp_path / "networks", {"broken": network})
    plan = plan_features(stimulus_sets, subsets, networks, _params(stimulus_sets=["spots"]))
    message = r"layer 'relu3': 9 of 144 features are NaN or infinite, first for stimulus number 0"
    with pytest.raises(CollectionError, match=message):
        run_plan(tmp_path / "features", plan)


def test_an_image_that_cannot_be_decoded_is_named_and_stops_its_own_set_alone(inputs, tmp_path):
    stimulus_sets, subsets, networks = inputs
    table = stimulus_sets["spots"].table()
    images = table["image"].to_pylist()
    images[5] = images[5][:60]  # as if another release of the decoder refused what ingest had accepted
    column = table.schema.get_field_index("image")
    damaged = table.set_column(column, "image", pa.array(images, pa.binary()))
    both = store(tmp_path / "sets", {"spots": damaged, "dots": stimulus_sets["dots"].table()}, ARROW)
    models = {"vit": VIT, "cut": {**VIT, "resize_px": 72}}
    plan = plan_features(both, subsets, networks, _params(models=models))
    with pytest.raises(CollectionError) as failed:
        run_plan(tmp_path / "features", plan)
    for model in ("cnn_supervised_s0", "cnn_untrained_s0", "small_resnet_simclr_s1", "vit", "cut"):
        assert f"spots/{model}: image 'stimulus-5' cannot be decoded: truncated" in str(failed.value)
        assert (tmp_path / "features" / "dots" / f"{model}.safetensors").exists()
    assert "dots/" not in str(failed.value)


def test_a_checkpoint_gives_the_features_of_the_network_it_was_saved_from(inputs, tmp_path):
    stimulus_sets, subsets, networks = inputs
    network = restore_trained_network(networks["cnn_supervised_s0"])
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    save_file(state, tmp_path / "net.safetensors")
    torch.save({"state_dict": state}, tmp_path / "net.pt")
    entry = {"source": "checkpoint", "architecture": "cnn", "n_classes": 3, "prefix": "module."}
    models = {suffix: {**entry, "path": str(tmp_path / f"net.{suffix}")} for suffix in ("safetensors", "pt")}
    plan = plan_features(stimulus_sets, subsets, networks, _params(models=models, stimulus_sets=["dots"]))
    found = run_plan(tmp_path / "features", plan)
    for suffix in models:
        for layer in ("relu1", "relu5"):
            expected = found["dots/cnn_supervised_s0"].tensor(layer)
            assert np.array_equal(found[f"dots/{suffix}"].tensor(layer), expected)
    seeded = _params(models={**models, "pt": {**models["pt"], "seed": 4}}, stimulus_sets=["dots"])
    again = plan_features(stimulus_sets, subsets, networks, seeded)
    assert {key: planned.recipe for key, planned in again.items()} == {
        key: planned.recipe for key, planned in plan.items()
    }
    cards = compute_model_cards(networks, found, seeded).set_index("model")
    assert cards.seed["pt"] == 4
    assert cards.objective["pt"] == "unstated"
    assert cards.seed.isna()["safetensors"]


def test_cards_tell_what_every_network_is(inputs, features):
    cards = compute_model_cards(inputs[2], features, _params(models={"vit": VIT})).set_index("model")
    assert list(cards.index) == ["cnn_supervised_s0", "cnn_untrained_s0", "small_resnet_simclr_s1", "vit"]
    assert cards.n_parameters["cnn_supervised_s0"] == 216 + 864 + 1728 + 3456 + 5184 + 168 + 24 * 3 + 3
    macs = 216 * 256 + 864 * 64 + 1728 * 64 + 3456 * 16 + 5184 * 16 + 24 * 3
    assert cards.n_flops["cnn_supervised_s0"] == 2 * macs
    assert cards.feature_width["small_resnet_simclr_s1"] == 24
    assert cards.n_layers["vit"] == 6
    assert cards.objective["vit"] == "untrained"
    assert cards.seed["vit"] == 0
    assert cards.trained_on["cnn_supervised_s0"] == "dots"
    assert cards.trained_on.isna()["cnn_untrained_s0"]
    assert cards.test_accuracy.isna().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stimulus_sets": ["dot"]}, "unknown stimulus set 'dot'; did you mean 'dots'"),
        ({"subset": "analyses"}, "stimulus set 'dots' has no subset 'analyses'; known: analysis, few"),
        ({"networks": ["cnn_supervised_s9"]}, "unknown network 'cnn_supervised_s9'; did you mean"),
        ({"models": {"cnn_supervised_s0": VIT}}, "has the name of a network trained here"),
    ],
)
def test_unknown_names_are_refused_while_planning(inputs, changes, message):
    with pytest.raises(ValueError, match=message):
        plan_features(*inputs, _params(**changes))


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({**VIT, "name": "test_vti"}, "features.models.x: unknown timm model 'test_vti'; did"),
        (
            {"source": "trained", "network": "cnn_supervisd_s0"},
            "features.models.x: unknown network 'cnn_supervisd_s0'; did you mean 'cnn_supervised_s0'",
        ),
    ],
)
def test_a_model_that_cannot_be_described_is_left_out_with_the_reason(inputs, entry, why):
    plan = plan_features(*inputs, _params(models={"x": entry}))
    assert plan.keys() == plan_features(*inputs, _params()).keys()
    assert plan.left_out.keys() == {f"{name}/x" for name in inputs[0]}
    assert all(shown.startswith(why) for shown in plan.left_out.values())


def test_what_needs_a_missing_network_or_set_is_left_out(inputs):
    sets, subsets, networks = inputs
    whole = plan_features(*inputs, _params())
    gone = "cnn_supervised_s0"
    kept = Handles({name: networks[name] for name in networks if name != gone}, {gone: "diverged"}, {})
    plan = plan_features(sets, subsets, kept, _params())
    assert plan.left_out == {f"{name}/{gone}": f"networks/{gone} is missing" for name in sets}
    assert {key: whole[key].recipe for key in plan} == {key: plan[key].recipe for key in plan}
    assert plan.keys() | plan.left_out.keys() == whole.keys()
    some = Handles({"dots": sets["dots"]}, {"spots": "torn"}, {})
    plan = plan_features(some, subsets, networks, _params())
    assert plan.keys() == {key for key in whole if key.startswith("dots/")}
    assert set(plan.left_out.values()) == {"stimulus_sets/spots is missing"}


def test_a_subset_that_names_a_foreign_stimulus_fails_with_its_name(inputs, tmp_path):
    stimulus_sets, _, networks = inputs
    foreign = store(tmp_path / "subsets", {"dots/analysis": make_subset([0] * 10, ["train"] * 10)}, ARROW)
    plan = plan_features(stimulus_sets, foreign, networks, _params(stimulus_sets=["dots"]))
    with pytest.raises(
        CollectionError, match="names 1 stimuli that set 'dots' does not hold, first 'stimulus-9'"
    ):
        run_plan(tmp_path / "features", plan)


def test_weights_that_cannot_be_had_fail_in_one_line(inputs, tmp_path):
    entry = {"source": "timm", "name": "resnet18", "layers": ["layer1"]}
    plan = plan_features(*inputs, _params(models={"pretrained": entry}, networks=[], stimulus_sets=["dots"]))
    with pytest.raises(
        CollectionError,
        match=r"no weights 'a1_in1k' for timm model 'resnet18': HF_HUB_OFFLINE .*pretrained: false",
    ):
        run_plan(tmp_path, plan)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({**VIT, "layer": ["a"]}, "layer\n  Extra inputs are not permitted"),
        ({**VIT, "source": "tim"}, "does not match any of the expected tags"),
        ({**VIT, "pooling": "mean"}, "Input should be 'average'"),
        ({**VIT, "layers": []}, "at least 1 item"),
        ({"source": "checkpoint", "architecture": "cmn", "path": "x.pt"}, "unknown architecture 'cmn'"),
    ],
)
def test_entries_that_cannot_be_meant_are_refused_before_anything_runs(entry, message):
    with pytest.raises(ValidationError, match=message):
        _params(models={"x": entry})


@pytest.mark.parametrize("place", ["__init__", "train", "forward", "_apply"])
@pytest.mark.parametrize("problem", ["SystemExit(0)", "GeneratorExit()"])
def test_code_that_would_end_the_program_fails_its_own_members_alone(inputs, tmp_path, place, problem):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        f"class Net(nn.Linear):\n    def {place}(self, *a, **b):\n        raise {problem}\n"
    )
    preprocessing = {"size_px": 8, "mean": [0.0], "std": [1.0]}
    own = {"source": "python", "file": str(tmp_path / "net.py"), "class": "Net", "layers": ["a"]}
    own |= {"preprocessing": preprocessing, "arguments": {"in_features": 8, "out_features": 2}}
    if place == "__init__":
        own["arguments"] = {}
    params = _params(allow_code=True, models={"own": own}, networks=["cnn_untrained_s0"])
    with pytest.raises(CollectionError) as failed:
        run_plan(tmp_path / "features", plan_features(*inputs, params))
    head, *lines = str(failed.value).split("\n")
    assert "2 of 4 members failed (the others are done and kept)" in head
    assert len(lines) == 2
    assert all(problem.partition("(")[0] in line for line in lines)
