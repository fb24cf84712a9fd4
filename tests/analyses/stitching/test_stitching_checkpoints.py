"""Files of weights are joined as networks trained here are."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.small_collections import (
    ARROW,
    TENSORS,
    make_network,
    make_stimuli,
    run_plan,
    store,
    store_networks,
)

from rep_kedro.analyses.stitching.params import StitchingParams
from rep_kedro.datasets import CollectionDataset
from rep_kedro.datasets.partial import Handles
from rep_kedro.datasets.plan_file import CollectionError
from rep_kedro.errors import UserError
from rep_kedro.models.study import FeaturesParams
from rep_kedro.models.trained import restore_trained_network
from rep_kedro.pipelines.stitching.nodes import plan_stitches, tabulate_stitches


@pytest.fixture
def study(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    labels, splits = [i % 3 for i in range(40)], ["train"] * 24 + ["test"] * 16
    networks = store_networks(
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


def _plan(study, entries, **params):
    return plan_stitches(
        study[0],
        {},
        study[1],
        FeaturesParams.model_validate({"models": entries}),
        StitchingParams(batch_size=10, **params),
    )


def test_files_give_what_the_networks_that_they_were_saved_from_give(study, tmp_path):
    files = {f"file_{seed}": _entry(tmp_path, f"cnn_s{seed}") for seed in (0, 1)}
    table = tabulate_stitches(run_plan(tmp_path / "out", _plan(study, files)))[0].dropna(axis=1, how="all")
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
    plan = _plan(study, files)
    assert sorted(plan) == [
        "noise/a-to-b/ps_inv",
        "noise/b-to-a/ps_inv",
        "noise/cnn_s0-to-cnn_s1/ps_inv",
        "noise/cnn_s1-to-cnn_s0/ps_inv",
    ]
    recipe = plan["noise/a-to-b/ps_inv"].recipe
    assert recipe["front"]["key"] == "a"
    assert len(recipe["front"]["digest"]) == 64
    assert str(tmp_path) not in json.dumps(recipe)


def test_files_of_different_objectives_are_joined_only_if_asked(study, tmp_path, caplog):
    files = {
        "adversarial": _entry(tmp_path, "cnn_s0", objective="adversarial"),
        "mixed": _entry(tmp_path, "cnn_s1", objective="mixed"),
        "unstated": _entry(tmp_path, "cnn_s1"),
    }
    with caplog.at_level("INFO"):
        assert not _plan(study, files, models=list(files))
    assert (
        "not stitched: adversarial, mixed, unstated (no other file has its architecture, input, n_classes and"
        " trained_on, and its objective; see stitching.across_objectives)" in caplog.text
    )
    assert "nothing to stitch: no two networks with a head are of one kind" in caplog.text
    assert len(_plan(study, files, models=list(files), across_objectives=True)) == 6
    alike = {name: {**entry, "objective": "mixed"} for name, entry in files.items() if name != "unstated"}
    assert sorted(_plan(study, alike, models=list(alike))) == [
        "noise/adversarial-to-mixed/ps_inv",
        "noise/mixed-to-adversarial/ps_inv",
    ]


def test_files_are_paired_before_the_images_are_there(study, tmp_path, caplog):
    files = {f"file_{seed}": _entry(tmp_path, f"cnn_s{seed}") for seed in (0, 1)}
    features = FeaturesParams.model_validate({"models": files})
    sets = Handles({}, {"noise": "missing"}, {})
    with caplog.at_level("INFO"):
        plan = plan_stitches(sets, Handles({}, {}, {}), {}, features, StitchingParams())
    assert not plan
    assert plan.left_out == {
        "noise/file_0-to-file_1/ps_inv": "stimulus_sets/noise is missing",
        "noise/file_1-to-file_0/ps_inv": "stimulus_sets/noise is missing",
    }
    layers = plan.foreseen["noise/file_0-to-file_1/ps_inv"]["layers"]
    assert [front for front, *_ in layers] == ["relu1", "relu2", "relu3", "relu5"]
    assert "stitch" not in caplog.text


def test_which_tensors_of_a_file_are_read_is_part_of_the_recipe(study, tmp_path):
    states = [restore_trained_network(study[1][f"cnn_s{seed}"]).state_dict() for seed in (0, 1)]
    torch.save({"model": states[0], "model_ema": states[1]}, tmp_path / "both.pth")
    both = {"path": str(tmp_path / "both.pth")}
    plans = [
        _plan(study, {"a": _entry(tmp_path, "cnn_s1"), "b": _entry(tmp_path, "x", **both, within=part)})
        for part in ("model", "model_ema")
    ]
    first, second = (plan["noise/a-to-b/ps_inv"].recipe["end"]["digest"] for plan in plans)
    assert first != second


def test_networks_that_cannot_be_joined_are_left_out_with_their_reasons(study, tmp_path, caplog):
    files = {
        "bare": _entry(tmp_path, "cnn_s0", n_classes=None),
        "elsewhere": _entry(tmp_path, "cnn_s0", trained_on="nose"),
        "foreign": {"source": "timm", "name": "resnet18", "pretrained": False, "layers": ["layer4"]},
    }
    with caplog.at_level("INFO"):
        plan = _plan(study, files)
    assert sorted(plan) == ["noise/cnn_s0-to-cnn_s1/ps_inv", "noise/cnn_s1-to-cnn_s0/ps_inv"]
    assert "bare (it has no head; give n_classes)" in caplog.text
    assert (
        "elsewhere (trained_on 'nose' is no stimulus set of this study; did you mean 'noise'?)" in caplog.text
    )
    assert "foreign (networks of source timm are joined where stitching.joints names them)" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_classes": None}, "stitching.models: 'a' cannot be joined: it has no head; give n_classes"),
        ({"trained_on": "nose"}, "'nose' is no stimulus set of this study; did you mean 'noise'"),
        ({"path": "gone.safetensors"}, r"checkpoint gone\.safetensors does not exist"),
    ],
)
def test_wanted_files_that_cannot_be_joined_are_refused_while_planning(study, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        _plan(study, {"a": _entry(tmp_path, "cnn_s0", **changes)}, models=["a"])


def test_chosen_networks_may_be_from_files_and_trained_here(study, tmp_path):
    files = {name: _entry(tmp_path, f"cnn_s{i}") for i, name in enumerate(("a", "b"))}
    assert sorted(_plan(study, files, models=["a", "b"])) == ["noise/a-to-b/ps_inv", "noise/b-to-a/ps_inv"]
    with pytest.raises(UserError, match="unknown network 'c'; known: a, b, cnn_s0, cnn_s1"):
        _plan(study, files, models=["c"])


def test_names_that_hold_the_word_between_front_and_end_are_distinguished(study, tmp_path):
    files = {name: _entry(tmp_path, f"cnn_s{i}") for i, name in enumerate(("a-to-b", "b"))}
    table = tabulate_stitches(run_plan(tmp_path / "out", _plan(study, files, models=list(files))))[0]
    assert set(zip(table["front_model"], table["end_model"], strict=True)) == {
        ("a-to-b", "b"),
        ("b", "a-to-b"),
    }


def test_a_file_does_not_take_the_name_of_a_network(study, tmp_path):
    with pytest.raises(UserError, match=r"features\.models\.cnn_s0 has the name of a network"):
        _plan(study, {"cnn_s0": _entry(tmp_path, "cnn_s0")})


def _spoil(path, kind):
    whole, state = path.read_bytes(), load_file(path)
    if kind == "cut off":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "no weights":
        path.write_text("Not Found")
    elif kind == "not finite":
        save_file({**state, "conv1.weight": state["conv1.weight"] * torch.nan}, path)
    else:
        save_file({name: x for name, x in state.items() if not name.startswith("conv2")}, path)


@pytest.mark.parametrize("kind", ["cut off", "no weights", "not finite", "incomplete"])
def test_a_damaged_file_fails_the_stitches_of_its_network_alone_in_one_line(study, tmp_path, kind):
    files = {f"file_{seed}": _entry(tmp_path, f"cnn_s{seed}") for seed in (0, 1)}
    _spoil(tmp_path / "cnn_s1.safetensors", kind)
    plan = _plan(study, files)
    stored = CollectionDataset(filepath=str(tmp_path / "out"), member=TENSORS)
    with pytest.raises(CollectionError) as refused:
        stored.save(plan)
    lines = [line for line in str(refused.value).splitlines() if "noise/" in line]
    assert {line.split(": ")[0].strip() for line in lines} == {
        "noise/file_0-to-file_1/ps_inv",
        "noise/file_1-to-file_0/ps_inv",
    }
    assert all("file_1" in line and "cnn_s1.safetensors" in line for line in lines)
    assert sorted(stored.load_partial()) == ["noise/cnn_s0-to-cnn_s1/ps_inv", "noise/cnn_s1-to-cnn_s0/ps_inv"]
