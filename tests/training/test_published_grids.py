"""Grids in phd-lab's JSON: five of its forms, and what cannot be honoured."""

import json

import pytest
import yaml
from click.testing import CliRunner

from rep_kedro.errors import UserError
from rep_kedro.training.params import TrainingParams
from rep_kedro.training.published_grids import read_published_grid

PRESETS = ["adam", "lrs"]
FORMS = {
    "lists": {
        "model": ["cnn", "small_resnet"],
        "dataset": ["Cifar10"],
        "resolution": [32],
        "optimizer": ["lrs60"],
    },
    "scalars": {
        "model": "cnn",
        "epoch": 2,
        "batch_size": 64,
        "dataset": "MNIST",
        "resolution": 28,
        "optimizer": "sgd",
    },
    "several sides": {"model": ["cnn"], "resolution": [32, 160], "epoch": [30], "metrics": ["Accuracy"]},
    "optimisers and batches": {
        "model": ["cnn"],
        "optimizer": PRESETS,
        "batch_size": [32, 64],
        "epoch": [1, 2],
    },
    "saturation": {
        "model": ["CNN"],
        "delta": [0.99, 0.999],
        "conv_method": "mean",
        "downsampling": 4,
        "data_parallel": False,
    },
}


def _train(content):
    grids = [read_published_grid(content).grid]
    return TrainingParams.model_validate({"stimulus_set": "x", "portable": False, "grids": grids}).networks()


@pytest.mark.parametrize(
    ("form", "names"),
    [
        ("lists", ["cnn_supervised_s0", "small_resnet_supervised_s0"]),
        ("scalars", ["cnn_supervised_s0"]),
        ("several sides", ["cnn_supervised_px32_s0", "cnn_supervised_px160_s0"]),
        (
            "optimisers and batches",
            [
                f"cnn_supervised_{o}_epochs{e}_bs{b}_s0"
                for o in ("adam", "lrs")
                for e in (1, 2)
                for b in (32, 64)
            ],
        ),
        ("saturation", ["cnn_supervised_s0"]),
    ],
)
def test_each_form_gives_its_trainings(form, names):
    assert list(_train(FORMS[form])) == names


def test_values_and_defaults_are_those_of_the_file():
    spec = _train(FORMS["scalars"])["cnn_supervised_s0"]
    assert (spec.stimulus_set, spec.input_px) == ("mnist", 28)
    assert (spec.schedule.epochs, spec.schedule.batch_size, spec.schedule.learning_rate) == (2, 64, 0.01)
    default = _train({"model": "cnn"})["cnn_supervised_s0"]
    assert (default.schedule.epochs, default.schedule.batch_size, default.schedule.optimizer) == (
        30,
        128,
        "adam",
    )
    assert default.metrics == ("top5_accuracy",)


def test_what_cannot_be_honoured_is_named():
    content = {
        "model": ["cnn", "cnm"],
        "optimizer": ["lrs90", "lrs"],
        "metrics": ["Accuracy", "F1"],
        "colour": 1,
    }
    lines = read_published_grid({**content, "logs_dir": "x", "delta": 0.9}).left_out
    assert [line.partition(":")[0] for line in lines] == [
        "colour", "logs_dir", "delta", "model 'cnm'", "optimizer 'lrs90'", "metrics 'F1'",
    ]  # fmt: skip
    assert "did you mean 'cnn'" in lines[3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "a grid is a JSON object of lists by key, got list"),
        ({"model": []}, "key 'model' has no value"),
        ({"model": ["nothing_like_it"]}, "nothing of the grid can be trained: model 'nothing_like_it'"),
    ],
)
def test_files_without_a_grid_are_refused(content, message):
    with pytest.raises(UserError, match=message):
        read_published_grid(content)


def test_the_command_prints_yaml_and_names_the_rest(tmp_path):
    from rep_kedro.commands.import_grid import command

    file = tmp_path / "grid.json"
    file.write_text(json.dumps(FORMS["saturation"]))
    ended = CliRunner().invoke(command, [str(file)])
    assert ended.exit_code == 0, ended.output
    assert yaml.safe_load(ended.stdout)["training"]["grids"][0]["architectures"] == ["cnn"]
    assert "not honoured: data_parallel: training.devices says on how many devices" in ended.stderr
    file.write_text("{")
    assert CliRunner().invoke(command, [str(file)]).exit_code == 1
    with file.open("w") as stream:
        stream.truncate(1_000_001)  # takes no space
    refused = CliRunner().invoke(command, [str(file)])
    assert refused.exit_code == 1
    assert f"{file} has 1,000,001 bytes, a grid at most 1,000,000" in refused.output


@pytest.mark.parametrize("key", ["model", "optimizer", "metrics"])
@pytest.mark.parametrize("value", [["a"], {"a": 1}, None, 3])
def test_a_name_that_is_no_text_is_refused(key, value):
    with pytest.raises(UserError, match="should be text"):
        read_published_grid({key: [value]})


@pytest.mark.parametrize("key", ["resolution", "epoch", "batch_size"])
@pytest.mark.parametrize("value", [None, float("nan"), 1.5, "32", True, 0, -1, [32], {}])
def test_a_number_that_is_no_count_is_refused(key, value):
    with pytest.raises(UserError, match=f"key '{key}' has .*; give whole numbers of at least 1"):
        read_published_grid({"model": "cnn", key: [1, value]})


@pytest.mark.parametrize("key", ["model", "dataset", "optimizer", "metrics"])
def test_one_bad_name_among_good_ones_is_refused(key):
    good = {"model": "cnn", "dataset": "MNIST", "optimizer": "adam", "metrics": "Accuracy"}[key]
    for bad in (None, float("nan"), " "):
        with pytest.raises(UserError, match=f"key '{key}' has {bad!r}, which should be text"):
            read_published_grid({key: [good, bad]})


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("model", ["cnn", "CNN"]),
        ("dataset", ["Cifar10", "CIFAR10"]),
        ("optimizer", ["adam", "adam"]),
        ("resolution", [32, 160, 32]),
    ],
)
def test_values_that_mean_the_same_are_refused(key, values):
    with pytest.raises(UserError, match=f"key '{key}' has .* which are the same; give one"):
        read_published_grid({key: values})


def test_the_command_refuses_a_key_given_twice_and_nan(tmp_path):
    from rep_kedro.commands.import_grid import command

    file = tmp_path / "grid.json"
    for text, message in (
        ('{"model": "cnn", "model": "vgg"}', "key 'model' is there twice"),
        ('{"model": "cnn", "epoch": [NaN]}', "key 'epoch' has nan"),
    ):
        file.write_text(text, encoding="utf-8-sig")
        ended = CliRunner().invoke(command, [str(file)])
        assert ended.exit_code == 1
        assert f"{file}: {message}" in ended.output
