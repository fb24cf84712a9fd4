"""The training pipeline on twelve stimuli per class: plans, members, history, mistakes."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from tests.small_collections import ARROW, make_stimuli, make_subset, run_plan, store

from rep_kedro.datasets import CollectionError
from rep_kedro.errors import UserError
from rep_kedro.features.estimate import width_of
from rep_kedro.features.listing import list_trained_layers
from rep_kedro.features.params import FeaturesParams
from rep_kedro.machine import SHARE_VARIABLE, count_cores
from rep_kedro.models.network import scale_images_in_unit_range
from rep_kedro.models.trained import restore_trained_network, run_to_embedding
from rep_kedro.pipelines.features.nodes import plan_features
from rep_kedro.pipelines.training.nodes import plan_networks, tabulate_trainings
from rep_kedro.training import params, processes
from rep_kedro.training.decoding import decode_splits
from rep_kedro.training.params import TrainingParams

SCHEDULE = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01}
TRAINED = {"source": "trained", "network": "cnn_vicreg_s0"}
GRIDS = [
    {
        "objective": "supervised",
        "architectures": ["cnn", "small_resnet"],
        "seeds": [0, 1],
        "schedule": SCHEDULE,
    },
    {"objective": "vicreg", "architectures": ["cnn"], "seeds": [0], "schedule": SCHEDULE},
    {"objective": "untrained", "architectures": ["cnn"], "seeds": [0]},
]


@pytest.fixture(autouse=True, scope="module")
def _own_folder(tmp_path_factory):
    """States of trainings go to a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("project"))
        yield


def _params(grids=GRIDS, portable=False, **changes):
    """Return parameters; portable trainings run in a process of their own, which takes seconds to start."""
    given = {"stimulus_set": "bars", "grids": grids, "portable": portable, **changes}
    return TrainingParams.model_validate(given)


@pytest.fixture(scope="module")
def stimulus_sets(tmp_path_factory):
    rng = np.random.default_rng(0)
    labels = [i % 2 for i in range(24)]
    pixels = rng.integers(0, 100, (24, 16, 16, 3), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[4 + 6 * label : 7 + 6 * label] = 230
    table = make_stimuli(pixels, labels, ["train"] * 16 + ["test"] * 8, ["high", "low"])
    return store(tmp_path_factory.mktemp("sets"), {"bars": table}, ARROW)


@pytest.fixture(scope="module")
def networks(stimulus_sets, tmp_path_factory):
    return run_plan(tmp_path_factory.mktemp("networks"), plan_networks(stimulus_sets, _params()))


def _recipes(plan):
    return {key: json.dumps(planned.recipe, sort_keys=True) for key, planned in plan.items()}


def test_there_is_one_network_for_each_architecture_objective_and_seed(stimulus_sets):
    assert list(plan_networks(stimulus_sets, _params())) == [
        *(
            "cnn_supervised_s0",
            "cnn_supervised_s1",
            "small_resnet_supervised_s0",
            "small_resnet_supervised_s1",
        ),
        *("cnn_vicreg_s0", "cnn_untrained_s0"),
    ]


def test_changing_one_networks_epochs_changes_only_its_recipe(stimulus_sets):
    before = _recipes(plan_networks(stimulus_sets, _params()))
    overrides = {"cnn_supervised_s1": {"schedule": {"epochs": 3}}}
    after = _recipes(plan_networks(stimulus_sets, _params(overrides=overrides)))
    assert [key for key in before if before[key] != after[key]] == ["cnn_supervised_s1"]
    assert json.loads(after["cnn_supervised_s1"])["schedule"]["epochs"] == 3


def test_a_recipe_says_everything_and_leaves_the_device_out(stimulus_sets):
    recipe = plan_networks(stimulus_sets, _params(portable=True))["cnn_vicreg_s0"].recipe
    assert set(recipe) == {
        "architecture",
        "objective",
        "seed",
        "schedule",
        "stimulus_set",
        "code",
        "arithmetic",
    }
    assert recipe["stimulus_set"] == stimulus_sets["bars"].reference
    assert recipe["objective"]["variance_weight"] == 25.0
    own = plan_networks(stimulus_sets, _params())
    assert _recipes(plan_networks(stimulus_sets, _params(device="cuda"))) == _recipes(own)
    assert "arithmetic" not in own["cnn_vicreg_s0"].recipe


def test_the_code_of_one_objective_is_no_part_of_anothers_recipe(stimulus_sets):
    plan = plan_networks(stimulus_sets, _params())
    codes = {key: planned.recipe["code"] for key, planned in plan.items()}
    assert codes["cnn_supervised_s0"] == codes["small_resnet_supervised_s1"]
    assert len({codes["cnn_supervised_s0"], codes["cnn_vicreg_s0"], codes["cnn_untrained_s0"]}) == 3


def test_members_hold_what_the_contract_says(networks):
    meta = networks["cnn_supervised_s0"].meta
    assert meta["architecture"] == "cnn"
    assert meta["objective"] == "supervised"
    assert meta["n_classes"] == 2
    assert meta["input_px"] == 16
    assert [metrics["epoch"] for metrics in meta["history"]] == [0, 1, 2]
    assert meta["test_accuracy"] == meta["history"][-1]["test_accuracy"]
    assert networks["cnn_vicreg_s0"].meta["test_accuracy"] is None
    assert networks["cnn_vicreg_s0"].meta["n_classes"] is None


def test_a_stored_network_comes_back_as_it_was_trained(networks):
    network = restore_trained_network(networks["small_resnet_supervised_s0"])
    assert not network.training
    assert network.n_classes == 2
    stored = networks["small_resnet_supervised_s0"].tensor("block1.conv1.weight")
    assert np.array_equal(network.state_dict()["block1.conv1.weight"].numpy(), stored)
    network.get_submodule("conv1").weight.data.zero_()  # weights are a copy, not the file
    assert np.abs(networks["small_resnet_supervised_s0"].tensor("conv1.weight")).sum() > 0


def test_a_second_run_gives_the_same_bytes(stimulus_sets, networks, tmp_path):
    plan = plan_networks(stimulus_sets, _params())
    keys = ("small_resnet_supervised_s1", "cnn_vicreg_s0", "cnn_untrained_s0")  # one of each kind
    again = run_plan(tmp_path, {key: plan[key] for key in keys})
    for key in keys:
        assert again[key].path.read_bytes() == networks[key].path.read_bytes()


def test_the_history_table_has_one_row_per_epoch_and_metric(networks):
    history, _, _ = tabulate_trainings(networks)
    assert list(history.columns) == ["model", "architecture", "objective", "seed", "epoch", "metric", "value"]
    assert not history.duplicated(["model", "epoch", "metric"]).any()
    rows = history[(history.model == "cnn_supervised_s1") & (history.epoch == 2)]
    assert dict(zip(rows.metric, rows.value, strict=True)).keys() == {
        "loss",
        "train_accuracy",
        "test_accuracy",
    }
    assert set(history[history.model == "cnn_untrained_s0"].epoch) == {0}


def test_costs_are_those_of_the_layers(networks):
    _, costs, _ = tabulate_trainings(networks)
    rows = costs.set_index("model")
    assert list(rows.index) == sorted(networks)
    cnn, shapes = rows.loc["cnn_supervised_s0"], restore_trained_network(networks["cnn_supervised_s0"])
    assert cnn.n_parameters == sum(p.numel() for p in shapes.parameters())
    macs = sum(
        module.weight.numel() * int(np.prod(shapes.shapes[name][1:]))
        for name, module in shapes.named_modules()
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
    )
    assert cnn.macs_per_image == macs
    assert (cnn.n_updates, cnn.n_images_seen) == (4, 32)
    assert cnn.training_flops == 2 * 3 * macs * 32
    outputs = sum(int(np.prod(shape)) for shape in shapes.shapes.values())
    assert cnn.memory_bytes == 4 * (4 * cnn.n_parameters + 8 * outputs)
    assert cnn.seconds > 0
    assert (rows.loc["cnn_untrained_s0"].n_images_seen, rows.loc["cnn_untrained_s0"].training_flops) == (0, 0)


def test_a_network_that_diverges_fails_alone_and_is_named(stimulus_sets, tmp_path):
    bad = {"optimizer": "sgd", "learning_rate": 1e30, "warmup_fraction": 0.0}
    params = _params(overrides={"cnn_supervised_s0": {"schedule": bad}})
    with pytest.raises(CollectionError, match=r"cnn_supervised_s0.*diverged in epoch 1"):
        run_plan(tmp_path, plan_networks(stimulus_sets, params))
    assert {path.stem for path in tmp_path.glob("*.safetensors")} >= {"cnn_supervised_s1", "cnn_vicreg_s0"}
    assert not (tmp_path / "cnn_supervised_s0.safetensors").exists()


def test_an_unknown_stimulus_set_is_answered_with_a_close_match(stimulus_sets):
    with pytest.raises(ValueError, match="unknown stimulus set 'bar'; did you mean 'bars'"):
        plan_networks(stimulus_sets, _params(stimulus_set="bar"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grids": [{**GRIDS[0], "architectures": ["cn"]}]}, "unknown architecture 'cn'"),
        ({"grids": [{**GRIDS[0], "objective": "simclar"}]}, "unknown objective 'simclar'"),
        ({"grids": [{**GRIDS[0], "options": {"smoothing": 1}}]}, "smoothing"),
        ({"grids": [{**GRIDS[0], "schedule": {**SCHEDULE, "epoch": 1}}]}, "epoch"),
        ({"grids": [{**GRIDS[0], "schedule": None}]}, "objective 'supervised' needs a schedule"),
        ({"grids": [{**GRIDS[2], "schedule": SCHEDULE}]}, "objective 'untrained' takes no schedule"),
        (
            {"grids": [GRIDS[1], {**GRIDS[1], "schedule": {**SCHEDULE, "epochs": 3}}]},
            "network 'cnn_vicreg_s0' is defined by two grids; give one of them a label",
        ),
        (
            {"overrides": {"cnn_vicreg_s1": {}}},
            "unknown network 'cnn_vicreg_s1'; did you mean 'cnn_vicreg_s0'",
        ),
        ({"overrides": {"cnn_untrained_s0": {"schedule": {"epochs": 2}}}}, "'untrained' takes none"),
        ({"overrides": {"cnn_vicreg_s0": {"schedule": {"epochs": 0}}}}, "greater than 0"),
        ({"devise": "cpu"}, "devise"),
        (
            {"device": "cuda", "portable": True},
            "portable on the CPU only, but device is 'cuda'; set training.portable to false",
        ),
    ],
)
def test_parameters_that_cannot_be_meant_are_refused_before_anything_runs(changes, message):
    with pytest.raises(ValidationError, match=message):
        _params(**{"grids": GRIDS, **changes})


def test_labels_set_grids_of_one_objective_apart():
    grids = [{**GRIDS[1], "label": f"cov{w}", "options": {"covariance_weight": w}} for w in (1, 25)]
    assert list(_params(grids=grids).networks()) == ["cnn_vicreg_cov1_s0", "cnn_vicreg_cov25_s0"]


def test_trainings_that_differ_in_their_names_alone_are_one(stimulus_sets, caplog):
    default = {
        **GRIDS[1],
        "label": "again",
        "options": {"variance_weight": 25.0},
        "snapshots": {"epochs": [1]},
    }
    params = _params(
        grids=[GRIDS[1], default, {**default, "label": "other", "options": {"variance_weight": 5}}]
    )
    assert params.repeats() == {"cnn_vicreg_again_s0": "cnn_vicreg_s0"}
    with caplog.at_level("INFO"):
        plan = plan_networks(stimulus_sets, params)
    trained = ["cnn_vicreg_s0", "cnn_vicreg_other_s0"]
    assert sorted(plan) == sorted([*trained, *(f"{name}@epoch1" for name in trained)])
    assert "network 'cnn_vicreg_again_s0' is trained once, as 'cnn_vicreg_s0'" in caplog.text


def test_the_projector_is_stored_with_the_network_and_is_a_layer_of_its_features(
    networks, stimulus_sets, tmp_path
):
    handle = networks["cnn_vicreg_s0"]
    tensors = [name for name in handle.names if name.startswith("projector/")]
    assert "projector/0.weight" in tensors
    assert handle.meta["projector"] == {"width": 24, "widths": [64, 64], "batch_norm": True, "bias": False}
    subsets = store(tmp_path / "subsets", {"bars/analysis": make_subset([0, 1] * 4, ["train"] * 8)}, ARROW)
    params = {"embeddings": True, "models": {"alone": {**TRAINED, "layers": ["embedding", "embedding.0"]}}}
    plan = plan_features(stimulus_sets, subsets, networks, FeaturesParams.model_validate(params))
    found = run_plan(tmp_path / "features", plan)
    assert "embedding" not in found["bars/cnn_supervised_s0"].meta["layers"]
    about = found["bars/cnn_vicreg_s0"].meta
    assert (about["layers"][-1], about["final_layer"]) == ("embedding", "relu5")
    assert found["bars/alone"].meta["layers"] == ["embedding.0", "embedding"]
    means = torch.from_numpy(found["bars/cnn_vicreg_s0"].tensor("relu5").copy())
    weights = {name: torch.from_numpy(handle.tensor(name).copy()) for name in tensors}
    hidden = means @ weights["projector/0.weight"].T
    hidden = (hidden - weights["projector/1.running_mean"]) / (
        weights["projector/1.running_var"] + 1e-5
    ).sqrt()
    hidden = (hidden * weights["projector/1.weight"] + weights["projector/1.bias"]).relu()
    expected = hidden @ weights["projector/3.weight"].T
    embedding = torch.from_numpy(found["bars/alone"].tensor("embedding").copy())
    torch.testing.assert_close(embedding, expected, atol=1e-5, rtol=1e-4)
    assert "embedding" in [row.layer for row in list_trained_layers(handle)]
    width = width_of("alone", networks=networks, params=FeaturesParams.model_validate(params))
    assert width == 128


def test_an_embedding_of_a_network_without_projector_is_an_error(networks):
    handle = networks["cnn_supervised_s0"]
    network = restore_trained_network(handle)
    with pytest.raises(UserError, match="none is stored with the network; its objective is 'supervised'"):
        run_to_embedding(network, handle, ("embedding",))


def test_self_supervised_networks_of_a_set_without_labels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 16, 3), dtype=np.uint8)
    sets = store(tmp_path / "sets", {"bars": make_stimuli(pixels, [None] * 16, ["train"] * 16)}, ARROW)
    found = run_plan(tmp_path / "networks", plan_networks(sets, _params(grids=[GRIDS[1]], portable=True)))
    assert restore_trained_network(found["cnn_vicreg_s0"])(torch.zeros(1, 3, 16, 16)).shape == (1, 24)


@pytest.mark.parametrize(
    ("labels", "splits", "grid", "message"),
    [
        ([0, 1] * 4, ["test"] * 8, GRIDS[2], r"'bars' has no split 'train' to train on \(test 8\); choose"),
        ([None] * 8, ["train"] * 8, GRIDS[0], "'supervised' needs labels, but 8 of 8 training images of"),
        ([0, 1, None, 0] * 2, ["train"] * 8, GRIDS[0], "needs labels, but 2 of 8 training images of"),
        ([0, None] * 2 + [None] * 4, ["train"] * 8, GRIDS[2], "'untrained' needs labels, but 6 of 8"),
        ([0, 1] * 2, ["train"] * 4, GRIDS[0], "batch_size 8 exceeds the 4 training images of"),
    ],
)
def test_a_stimulus_set_that_cannot_be_learnt_from_is_refused_while_planning(
    labels, splits, grid, message, tmp_path
):
    pixels = np.zeros((len(labels), 16, 16, 3), dtype=np.uint8)
    sets = store(tmp_path, {"bars": make_stimuli(pixels, labels, splits, ["high", "low"])}, ARROW)
    with pytest.raises(UserError, match=message) as caught:
        plan_networks(sets, _params(grids=[grid]))
    assert "\n" not in str(caught.value)


def test_without_grids_there_is_nothing_to_train_and_no_set_to_train_on(stimulus_sets):
    assert plan_networks(stimulus_sets, _params(grids=[], stimulus_set="unknown")) == {}
    assert all("model" in table.columns for table in tabulate_trainings({}))


def test_streamed_images_give_the_bytes_of_images_in_memory(stimulus_sets, networks, tmp_path):
    params = _params(grids=[GRIDS[1]], memory_bytes=1)
    streamed = run_plan(tmp_path, plan_networks(stimulus_sets, params))["cnn_vicreg_s0"]
    assert streamed.path.read_bytes() == networks["cnn_vicreg_s0"].path.read_bytes()


def test_a_snapshot_is_a_network_of_its_own(stimulus_sets, networks, tmp_path):
    grid = {**GRIDS[0], "architectures": ["cnn"], "seeds": [0], "snapshots": {"epochs": [0, 1], "steps": [3]}}
    plan = plan_networks(stimulus_sets, _params(grids=[grid]))
    found = run_plan(tmp_path / "all", plan)
    assert found["cnn_supervised_s0"].path.read_bytes() == networks["cnn_supervised_s0"].path.read_bytes()
    first, second, third = (found[f"cnn_supervised_s0@{moment}"] for moment in ("epoch0", "epoch1", "step3"))
    whole = found["cnn_supervised_s0"].meta["history"]
    assert [handle.meta["history"] for handle in (first, second, third)] == [whole[:1], whole[:2], whole[:2]]
    assert [handle.meta["n_updates"] for handle in (first, second, third)] == [0, 2, 3]
    drawn = restore_trained_network(found["cnn_supervised_s0@epoch0"]).state_dict()
    assert not torch.equal(
        drawn["conv1.weight"], restore_trained_network(second).state_dict()["conv1.weight"]
    )
    alone = {key: planned for key, planned in plan.items() if key.endswith("@epoch1")}
    again = run_plan(tmp_path / "alone", alone)["cnn_supervised_s0@epoch1"]
    assert again.path.read_bytes() == second.path.read_bytes()
    history, costs, _ = tabulate_trainings(found)
    parts = [handle.journal["seconds"] for handle in found.values()]
    assert costs.seconds.tolist() == [pytest.approx(sum(parts))]
    assert set(history.model) == set(costs.model) == {"cnn_supervised_s0"}


def test_a_state_is_there_as_long_as_its_network_is_not(stimulus_sets, tmp_path):
    checkpoints = {"folder": str(tmp_path / "states"), "seconds": 0}
    plan = plan_networks(stimulus_sets, _params(grids=[GRIDS[0]], checkpoints=checkpoints))
    states = tmp_path / "states"
    names = ["cnn_supervised_s0", "small_resnet_supervised_s1"]
    seen = [[path.stem for path in states.iterdir()] for _ in plan[names[0]].compute.compute(names)]
    assert seen == [[name] for name in names]
    run_plan(tmp_path / "networks", {name: plan[name] for name in names})
    assert list(states.iterdir()) == []


def test_metrics_precision_and_accumulation_are_part_of_the_recipe_and_of_the_training(
    stimulus_sets, networks, tmp_path
):
    changes = {
        "label": "bf16",
        "precision": "bfloat16",
        "metrics": ["cross_entropy", "top1_accuracy"],
        "schedule": {**SCHEDULE, "batch_size": 4, "accumulate": 2},
    }
    grid = {**GRIDS[0], "architectures": ["cnn"], "seeds": [0], **changes}
    found = run_plan(tmp_path, plan_networks(stimulus_sets, _params(grids=[grid])))
    member = found["cnn_supervised_bf16_s0"]
    assert member.recipe["precision"] == "bfloat16"
    row = member.meta["history"][-1]
    assert row["test_top1_accuracy"] == row["test_accuracy"]
    assert row["test_cross_entropy"] > 0
    assert member.meta["n_updates"] == 4
    weights = member.tensor("conv1.weight")
    assert weights.dtype == np.float32
    assert np.abs(weights - networks["cnn_supervised_s0"].tensor("conv1.weight")).max() > 0


def test_metrics_need_logits_and_enough_classes(stimulus_sets):
    with pytest.raises(UserError, match="'top2_accuracy' needs more than 2 classes, the stimulus set has 2"):
        plan_networks(stimulus_sets, _params(grids=[{**GRIDS[0], "metrics": ["top2_accuracy"]}]))
    with pytest.raises(UserError, match="objective 'vicreg' has no class logits to measure"):
        plan_networks(stimulus_sets, _params(grids=[{**GRIDS[1], "metrics": ["mcc"]}]))


def _with_columns(folder, first):
    """Return a stimulus set with columns of one label (`half`) and several (`tags`) of an image."""
    rng = np.random.default_rng(0)
    table = make_stimuli(
        rng.integers(0, 255, (24, 16, 16, 3), dtype=np.uint8), first, ["train"] * 24, ["a", "b"]
    )
    meta = json.loads(table.schema.metadata[b"meta"])
    meta |= {
        "label_columns": {"own": ["a", "b"], "half": ["x", "y", "z"]},
        "multi_label_columns": {"tags": list("pqr")},
    }
    tags = [[i % 3, (i + 1) % 3] if i % 2 else [] for i in range(24)]
    table = table.append_column("label:half", pa.array([i % 3 for i in range(24)], pa.int32()))
    table = table.append_column("label:tags", pa.array(tags, pa.list_(pa.int32())))
    return store(folder, {"bars": table.replace_schema_metadata({b"meta": json.dumps(meta)})}, ARROW), tags


def test_other_label_columns_are_learnt(tmp_path):
    sets, tags = _with_columns(tmp_path / "sets", [0, 1] * 12)
    grid = {**GRIDS[0], "architectures": ["cnn"], "seeds": [0]}
    grids = [{**grid, "label": name, "labels": name} for name in ("half", "tags")]
    found = run_plan(tmp_path / "networks", plan_networks(sets, _params(grids=grids)))
    half, several = found["cnn_supervised_half_s0"], found["cnn_supervised_tags_s0"]
    assert (half.meta["n_classes"], several.meta["n_classes"]) == (3, 3)
    assert set(half.meta["history"][-1]) == {"epoch", "loss", "train_accuracy"}
    assert set(several.meta["history"][-1]) == {"epoch", "loss", "train_label_accuracy"}
    network = restore_trained_network(several)
    images = decode_splits(sets["bars"], 16, 3, labels="tags", memory_bytes=10**9).train
    expected = torch.tensor([[float(c in row) for c in range(3)] for row in tags])
    assert torch.equal(images.labels, expected)
    with torch.no_grad():
        logits = network(scale_images_in_unit_range(images.images.float() / 255, network.architecture))
    right = ((logits > 0) == (expected > 0)).double().mean().item()
    assert several.meta["history"][-1]["train_label_accuracy"] == pytest.approx(right)


def test_fewer_test_images_are_measured_and_change_no_weight(stimulus_sets, tmp_path):
    grid = {"objective": "supervised", "architectures": ["cnn"], "seeds": [0], "schedule": SCHEDULE}
    grids = [{**grid, "label": f"n{n}", "n_test": n} for n in (3, 10_000)]
    found = run_plan(tmp_path, plan_networks(stimulus_sets, _params([grid, *grids])))
    every, few, most = (found[f"cnn_supervised{label}_s0"] for label in ("", "_n3", "_n10000"))
    assert few.recipe["n_test"] == 3
    assert all((few.tensor(name) == every.tensor(name)).all() for name in every.names)
    assert most.meta["history"] == every.meta["history"]
    key, px = few.meta["stimulus_set"], few.meta["input_px"]
    images, again = (
        decode_splits(stimulus_sets[key], px, 3, n_test=3, memory_bytes=10**9).test for _ in range(2)
    )
    assert torch.equal(images.images, again.images)
    network = restore_trained_network(few)
    with torch.no_grad():
        logits = network(scale_images_in_unit_range(images.images.float() / 255, network.architecture))
    assert few.meta["test_accuracy"] == (logits.argmax(dim=1) == images.labels).sum().item() / 3


def test_label_columns_that_cannot_be_learnt_are_refused(tmp_path):
    sets, _ = _with_columns(tmp_path / "sets", [0, 1] * 12)
    with pytest.raises(UserError, match="has no label column 'tag'; did you mean 'tags'"):
        plan_networks(sets, _params(grids=[{**GRIDS[0], "labels": "tag"}]))
    with pytest.raises(UserError, match="metrics need one label of an image, 'tags' has several"):
        plan_networks(sets, _params(grids=[{**GRIDS[0], "labels": "tags", "metrics": ["mcc"]}]))


def test_networks_trained_at_the_same_time_have_the_same_bytes_and_their_own_times(stimulus_sets, tmp_path):
    grid = {"objective": "supervised", "architectures": ["cnn"], "seeds": [0, 1, 2], "schedule": SCHEDULE}
    found = {
        n: run_plan(tmp_path / str(n), plan_networks(stimulus_sets, _params([grid], processes=n)))
        for n in (1, 2)
    }
    assert [*found[2]] == ["cnn_supervised_s0", "cnn_supervised_s1", "cnn_supervised_s2"]
    for name, alone in found[1].items():
        together = found[2][name]
        assert together.path.read_bytes() == alone.path.read_bytes()
        assert together.journal["seconds"] > 0
    assert "cnn_supervised_s1" in {row for row in tabulate_trainings(found[2])[1]["model"]}


def test_a_process_that_ends_takes_only_its_own_networks_with_it(stimulus_sets, tmp_path, monkeypatch):
    def describe(names, *about):
        job = whole(names, *about)
        return {"n_devices": 1} if "cnn_untrained_s1" in names else job

    whole = processes._describe_job
    monkeypatch.setattr(processes, "_describe_job", describe)
    grid = {"objective": "untrained", "architectures": ["cnn"], "seeds": [0, 1, 2]}
    plan = plan_networks(stimulus_sets, _params([grid], processes=2))
    with pytest.raises(CollectionError, match=r"(?s)1 of 3 members failed.*cnn_untrained_s1.*exit code 1"):
        run_plan(tmp_path, plan)
    assert sorted(path.stem for path in tmp_path.glob("*.safetensors")) == [
        "cnn_untrained_s0",
        "cnn_untrained_s2",
    ]


def test_auto_takes_a_core_for_each_network_and_no_more_than_four(monkeypatch):
    monkeypatch.setattr(params, "count_cores", lambda: 3)
    assert _params(processes="auto").n_at_once == 3
    assert _params(processes="auto", device="cuda").n_at_once == 1
    assert _params(processes="auto", devices=2).n_at_once == 1
    monkeypatch.setattr(params, "count_cores", lambda: 64)
    assert _params(processes="auto").n_at_once == 4
    assert _params(processes=9).n_at_once == 9
    with pytest.raises(ValidationError, match=r"training\.processes is 2, but each network is trained on"):
        _params(processes=2, devices=2)


def test_a_worker_has_its_share_of_the_cores(monkeypatch):
    monkeypatch.setenv(SHARE_VARIABLE, "2")
    assert count_cores() == 2
