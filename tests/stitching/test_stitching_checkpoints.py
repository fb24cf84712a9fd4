"""Files of weights are joined as networks trained here are."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.small_collections import ARROW, make_network, make_stimuli, run_plan, store

from rep_kedro.models.sources.trained import restore_trained_network
from rep_kedro.pipelines.stitching.nodes import plan_stitches, tabulate_stitching_results
from rep_kedro.pipelines.stitching.params import StitchingParams


@pytest.fixture
def study(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    labels, splits = [i % 3 for i in range(40)], ["train"] * 24 + ["test"] * 16
    networks = store(
        tmp_path / "networks",
        {
            f"cnn_s{seed}": make_network("cnn", seed=seed, n_classes=3, stimulus_set="noise")
            for seed in (0, 1)
        },
    )
    for name, handle in networks.items():
        save_file(restore_trained_network(handle).state_dict(), tmp_path / f"{name}.safetensors")
    sets = store(tmp_path / "sets", {"noise": make_stimuli(pixels, labels, splits, ["a", "b", "c"])}, ARROW)
    return sets, networks


def _entry(tmp_path, name, **changes):
    entry = {"source": "checkpoint", "architecture": "cnn", "n_classes": 3, "trained_on": "noise"}
    return {**entry, "path": str(tmp_path / f"{name}.safetensors"), **changes}


def _params(checkpoints):
    return StitchingParams.model_validate({"batch_size": 10, "checkpoints": checkpoints})


def test_files_give_what_the_networks_that_they_were_saved_from_give(study, tmp_path):
    files = {f"file_{seed}": _entry(tmp_path, f"cnn_s{seed}") for seed in (0, 1)}
    table = tabulate_stitching_results(run_plan(tmp_path / "out", plan_stitches(*study, _params(files))))
    own = table[table["front_model"] == "cnn_s0"].drop(columns=["front_model", "end_model"])
    file = table[table["front_model"] == "file_0"].drop(columns=["front_model", "end_model"])
    assert len(own) == 4
    assert own.to_dict("list") == file.to_dict("list")
    assert len(table) == 16


def test_only_files_of_one_form_are_joined(study, tmp_path):
    torch.manual_seed(0)
    files = {
        "a": _entry(tmp_path, "cnn_s0"),
        "b": _entry(tmp_path, "cnn_s1"),
        "c": _entry(tmp_path, "cnn_s1", mean=[0.1, 0.2, 0.3]),
    }
    plan = plan_stitches(*study, _params(files))
    assert sorted(plan) == [
        "noise/a-to-b",
        "noise/b-to-a",
        "noise/cnn_s0-to-cnn_s1",
        "noise/cnn_s1-to-cnn_s0",
    ]
    recipe = plan["noise/a-to-b"].recipe
    assert recipe["front"]["key"] == "a"
    assert len(recipe["front"]["digest"]) == 64
    assert str(tmp_path) not in json.dumps(recipe)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_classes": None}, r"stitching\.checkpoints\.a has no head"),
        ({"trained_on": "nose"}, "no stimulus set 'nose', did you mean 'noise'"),
        ({"path": "gone.safetensors"}, r"checkpoint gone\.safetensors does not exist"),
    ],
)
def test_files_that_cannot_be_joined_are_refused_while_planning(study, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        plan_stitches(*study, _params({"a": _entry(tmp_path, "cnn_s0", **changes)}))


def test_a_file_does_not_take_the_name_of_a_network(study, tmp_path):
    with pytest.raises(ValueError, match=r"stitching\.checkpoints\.cnn_s0 has the name of a network"):
        plan_stitches(*study, _params({"cnn_s0": _entry(tmp_path, "cnn_s0")}))
