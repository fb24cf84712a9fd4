"""Maps trained through the end network, on small networks with drawn weights."""

import hashlib

import numpy as np
import pytest
from tests.small_collections import ARROW, make_network, make_stimuli, run_plan, store, store_networks

from rep_kedro.analyses.stitching import reading
from rep_kedro.analyses.stitching.params import StitchingParams
from rep_kedro.datasets import CollectionError
from rep_kedro.kernels import scratch
from rep_kedro.models.study import FeaturesParams
from rep_kedro.pipelines.stitching.nodes import plan_stitches, tabulate_stitches

KEY = "noise/cnn_s0-to-cnn_s1"
SHORT = {"fit": "task", "epochs": 2, "batch_size": 8}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    pixels = np.random.default_rng(0).integers(0, 256, (44, 16, 16, 3), dtype=np.uint8)
    labels, splits = [i % 3 for i in range(44)], ["train"] * 24 + ["test"] * 20
    networks = {
        f"{name}_s{seed}": make_network(name, seed=seed, n_classes=3, stimulus_set="noise")
        for name, seeds in (("cnn", (0, 1, 2)), ("small_resnet", (0,)))
        for seed in seeds
    }
    sets = store(folder / "sets", {"noise": make_stimuli(pixels, labels, splits, ["a", "b", "c"])}, ARROW)
    return sets, store_networks(folder / "networks", networks)


def _plan(study, maps, entries=(), **params):
    params = {"joints": [{"fronts": ["cnn_s0"], "ends": ["cnn_s1"], "layers": ["relu2", "relu3"]}], **params}
    given = StitchingParams.model_validate({"maps": maps, "n_bootstrap": 100, **params})
    return plan_stitches(study[0], {}, study[1], FeaturesParams(models=dict(entries)), given)


def test_trained_maps_have_their_parts_and_rows(study, tmp_path):
    maps = {
        "ps_inv": {"fit": "least_squares"},
        "frank": {**SHORT, "seeds": [0, 1], "history": [0, 2], "path_from": "ps_inv", "learning_rate": 0.01},
        "masked": {**SHORT, "init": "random", "mask": "semi-match", "target": "hard"},
        "rank2": {**SHORT, "init": "orthogonal", "rank": 2, "target": "soft_12", "later_layers": 0.1},
        "close": {**SHORT, "loss": "mse", "init": "zeros", "optimizer": "sgd"},
        "far": {**SHORT, "cka_penalty": 1.0, "l1": 0.01, "path_from": "masked"},
    }
    handles = run_plan(tmp_path / "out", _plan(study, maps))
    assert sorted(handles) == sorted(f"{KEY}/{name}" for name in maps)
    frank = handles[f"{KEY}/frank"]
    assert frank.tensor("relu3/s1/loss").shape == (6,)
    np.testing.assert_array_equal(
        frank.tensor("relu3/s0/history/0/weight"), frank.tensor("relu3/s0/start/weight")
    )
    solved = handles[f"{KEY}/ps_inv"].tensor("relu3/s0/weight")
    np.testing.assert_allclose(frank.tensor("relu3/s0/start/weight"), solved, rtol=0, atol=1e-5)
    assert not np.array_equal(frank.tensor("relu3/s0/weight"), frank.tensor("relu3/s1/weight"))
    masked = handles[f"{KEY}/masked"]
    weight, mask = masked.tensor("relu2/s0/weight"), masked.tensor("relu2/s0/mask")
    assert (mask.sum(axis=1) <= 1).all()
    assert not weight[~mask].any()
    assert np.linalg.matrix_rank(handles[f"{KEY}/rank2"].tensor("relu2/s0/weight"), rtol=1e-5) == 2
    results, summary, paths = tabulate_stitches(handles)
    assert len(results) == 2 * (len(maps) + 1)
    assert set(results.loc[results["map"] != "ps_inv", "n_steps"]) == {6}
    assert set(summary.loc[summary["map"] == "frank", "n_seeds"]) == {2}
    assert len(paths) == (2 + 1) * 2 * 11
    ends = paths[(paths["map"] == "frank") & (paths["point"] == 10)].set_index(["end_layer", "seed"])
    own = results[results["map"] == "frank"].set_index(["end_layer", "seed"])
    assert ends["stitched_accuracy"].to_dict() == own["stitched_accuracy"].to_dict()
    starts = paths[(paths["map"] == "frank") & (paths["point"] == 0)].set_index(["end_layer", "seed"])
    solved = results[results["map"] == "ps_inv"].set_index("end_layer")["cross_entropy"]
    for (layer, _), value in starts["cross_entropy"].items():
        assert value == pytest.approx(solved[layer], abs=1e-12)


def test_a_map_does_not_depend_on_those_it_is_trained_with(study, tmp_path):
    maps = {"frank": dict(SHORT), "other": {**SHORT, "init": "random", "target": "hard"}}
    together = run_plan(tmp_path / "together", _plan(study, maps))
    alone = run_plan(tmp_path / "alone", _plan(study, {"frank": dict(SHORT)}))
    for name in alone[f"{KEY}/frank"].names:
        one, other = (handles[f"{KEY}/frank"].tensor(name) for handles in (together, alone))
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "option", [{"later_layers": 0.1}, {"cka_penalty": 1.0}, {"loss": "mse"}, {"target": "soft_1"}]
)
def test_each_option_is_given_what_it_needs_without_others(study, tmp_path, option):
    joints = [{"fronts": ["cnn_s0"], "ends": ["cnn_s1"], "layers": ["relu3"]}]
    maps = {"plain": {**SHORT, "learning_rate": 0.1}, "other": {**SHORT, "learning_rate": 0.1, **option}}
    weights = {}
    for name, given in maps.items():
        handles = run_plan(tmp_path / name, _plan(study, {name: given}, joints=joints))
        weights[name] = handles[f"{KEY}/{name}"].tensor("relu3/s0/weight")
    assert np.abs(weights["plain"] - weights["other"]).max() > 1e-4


def test_behind_the_last_cut_point_there_are_no_later_layers_to_match(study, tmp_path):
    maps = {"plain": dict(SHORT), "later": {**SHORT, "later_layers": 5.0}}
    joints = [{"fronts": ["cnn_s0"], "ends": ["cnn_s1"], "layers": ["mean"]}]
    handles = run_plan(tmp_path / "out", _plan(study, maps, joints=joints))
    one, other = (handles[f"{KEY}/{name}"].tensor("mean/s0/weight") for name in maps)
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def test_donors_are_not_changed(study, tmp_path, monkeypatch):
    seen = []
    load = reading.LoadedNetwork.__init__

    def note(self, *given, **named):
        load(self, *given, **named)
        seen.append((self.module, _digest(self.module)))

    monkeypatch.setattr(reading.LoadedNetwork, "__init__", note)
    run_plan(tmp_path / "out", _plan(study, {"frank": dict(SHORT)}))
    assert len(seen) == 2
    assert all(_digest(module) == before for module, before in seen)


def _digest(module):
    parts = [value.numpy().tobytes() for _, value in sorted(module.state_dict().items())]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_a_loss_that_is_not_finite_fails_that_member_alone(study, tmp_path):
    maps = {"frank": dict(SHORT), "wild": {**SHORT, "optimizer": "sgd", "learning_rate": 1e30, "l1": 1e30}}
    with pytest.raises(CollectionError, match=r"cnn_s0-to-cnn_s1/wild at relu\d, seed 0: .*step"):
        run_plan(tmp_path / "out", _plan(study, maps))
    assert [path.stem for path in (tmp_path / "out").rglob("*.safetensors")] == ["frank"]


def test_activations_beyond_the_memory_are_in_a_file_without_a_name(study, tmp_path, monkeypatch):
    mapped_bytes = []
    allocate = scratch.os.posix_fallocate
    monkeypatch.setattr(
        scratch.os, "posix_fallocate", lambda *given: mapped_bytes.append(given[2]) or allocate(*given)
    )
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path))
    maps = {"frank": dict(SHORT)}
    mapped = run_plan(tmp_path / "mapped", _plan(study, maps, memory_bytes=10_000))
    assert len(mapped_bytes) == 2
    left = {path.name.partition(".")[0] for path in tmp_path.iterdir()}
    assert left == {"mapped"}, "nothing to be left after a kill"
    memory = run_plan(tmp_path / "memory", _plan(study, maps))
    assert len(mapped_bytes) == 2
    assert mapped[f"{KEY}/frank"].path.read_bytes() == memory[f"{KEY}/frank"].path.read_bytes()


def test_other_widths_sizes_kinds_and_controls(study, tmp_path):
    joints = [
        {"fronts": ["cnn_s0"], "ends": ["cnn_s1"], "layers": {"relu1": "relu3", "relu5": "relu2"}},
        {"fronts": ["cnn_s0"], "ends": ["small_resnet_s0"], "layers": {"relu2": "block1.add"}},
        {"fronts": ["cnn_s0"], "ends": ["cnn_s1"], "layers": {"relu5": "mean"}, "flatten": True},
        {"fronts": ["cnn_s1"], "ends": ["cnn_s1"], "layers": ["relu3"], "include_self": True},
        {"fronts": ["cnn_s0", "cnn_s2"], "ends": ["cnn_s1"], "layers": ["relu3"], "control": "untrained"},
        {
            "fronts": ["cnn_s0"],
            "ends": ["cnn_s1"],
            "layers": ["relu3"],
            "control": "noise",
            "maps": ["ps_inv"],
        },
    ]
    maps = {"ps_inv": {"fit": "least_squares"}, "frank": dict(SHORT)}
    handles = run_plan(tmp_path / "out", _plan(study, maps, joints=joints, measures=["cka"]))
    results = tabulate_stitches(handles)[0]
    assert len(results) == 2 * 7 + 1
    assert sorted({key.split("/")[1] for key in handles}) == [
        "cnn_s0-to-cnn_s1",
        "cnn_s0-to-small_resnet_s0",
        "cnn_s0@noise-to-cnn_s1",
        "cnn_s0@untrained-to-cnn_s1",
        "cnn_s1-to-cnn_s1",
        "cnn_s2@untrained-to-cnn_s1",
    ]
    solved = results[results["map"] == "ps_inv"].set_index(["front_model", "end_model", "control"])
    itself = solved.loc["cnn_s1", "cnn_s1", "self"]
    assert itself["relative_accuracy"] == 1.0
    assert itself["cka"] == pytest.approx(1.0)
    drawn = solved.xs("untrained", level="control")["joint_l2"]
    assert drawn["cnn_s0", "cnn_s1"] != drawn["cnn_s2", "cnn_s1"], "two draws, not one twice"
    noise = solved.loc["cnn_s0", "cnn_s1", "noise"]
    assert np.isnan(noise["front_accuracy"])
    assert noise["map_r2"] < itself["map_r2"]
    assert results["flatten"].sum() == 2


def test_a_grid_joins_every_kept_layer_with_every_one(study, tmp_path):
    again = {"fronts": ["cnn_s0"], "ends": ["cnn_s1"], "layers": ["relu2"]}  # a part of the grid
    joints = [again, {**again, "layers": "grid"}]
    table = tabulate_stitches(
        run_plan(tmp_path / "out", _plan(study, {"a": {"fit": "least_squares"}}, joints=joints))
    )[0]
    kept = ["relu1", "relu2", "relu3", "relu5"]
    assert sorted(zip(table["front_layer"], table["end_layer"], strict=True)) == sorted(
        (one, other) for one in kept for other in kept
    )
    assert table.groupby("front_layer")["front_depth"].first().loc[kept].tolist() == [0, 1, 2, 3]


def test_networks_of_other_sources_are_joined(study, tmp_path):
    entries = {
        "ours": {
            "source": "timm", "name": "test_resnet", "pretrained": False, "layers": ["layer1"], "size_px": 32,
        },
        "theirs": {
            "source": "timm", "name": "test_vit", "pretrained": False, "layers": ["blocks.0"], "size_px": 32,
        },
    }  # fmt: skip
    for entry in entries.values():
        entry |= {"n_classes": 3, "trained_on": "noise"}
    joints = [
        {"fronts": ["ours"], "ends": ["cnn_s0"], "layers": {"layer1": "relu2"}},
        {"fronts": ["cnn_s0"], "ends": ["ours"], "layers": {"relu2": "layer2"}},
        {"fronts": ["theirs"], "ends": ["theirs"], "layers": "same", "include_self": True},
        {"fronts": ["cnn_s0"], "ends": ["theirs"], "layers": {"relu5": "blocks.0"}, "flatten": True},
    ]
    maps = {"ps_inv": {"fit": "least_squares"}, "frank": {**SHORT, "epochs": 1}}
    table = tabulate_stitches(run_plan(tmp_path / "out", _plan(study, maps, entries, joints=joints)))[0]
    itself = table[(table["front_model"] == table["end_model"]) & (table["map"] == "ps_inv")]
    assert len(itself) == 1
    assert (itself["agreement"] == 1.0).all()
    assert set(table["end_model"]) == {"cnn_s0", "ours", "theirs"}
