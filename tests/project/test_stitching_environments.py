"""The environments of stitching experiments are sound, and an option of one map computes that map alone."""

import pytest
from kedro.config import OmegaConfigLoader

from rep_kedro.analyses.stitching.params import StitchingParams
from rep_kedro.checks.stitched_layers import find_unfit_joints
from rep_kedro.features.params import FeaturesParams
from rep_kedro.settings import CONFIG_LOADER_ARGS
from rep_kedro.stimuli.params import IngestParams
from rep_kedro.training.params import TrainingParams


def _load(environment, **given):
    options = {**CONFIG_LOADER_ARGS, "default_run_env": environment}
    return OmegaConfigLoader("conf", env=environment, runtime_params=given, **options)["parameters"]


@pytest.mark.parametrize("environment", ["base", "stitching", "stitching_paper"])
def test_every_joint_names_layers_that_its_maps_can_join(environment, monkeypatch):
    monkeypatch.setenv("REP_DATA", "/nowhere")
    found = _load(environment)
    params = StitchingParams.model_validate(found["stitching"])
    features = FeaturesParams.model_validate(found["features"])
    training = TrainingParams.model_validate(found["training"])
    assert not list(find_unfit_joints(params, features, training))
    wanted = {
        "base": {"ps_inv"},
        "stitching": {"frank", "frank_random", "rank4", "semi", "frank_low_cka", "fula"},
        "stitching_paper": {"frank", "frank_random", "rank8", "semi", "frank_low_cka", "frank_hard"},
    }
    assert wanted[environment] <= set(params.maps)


def test_a_parameter_of_the_command_line_adds_a_map_to_the_default():
    given = _load("base", stitching={"maps": {"frank": {"target": "soft_12"}}})
    params = StitchingParams.model_validate(given["stitching"])
    assert list(params.maps) == ["ps_inv", "frank"]
    assert params.maps["frank"].fit == "task"
    assert params.maps["frank"].target == "soft_12"


def test_a_network_that_predicts_several_labels_is_refused_before_the_run():
    table = {"file": "labels.csv", "id": "image", "label": ["kind"], "multi_label": {"tags": ";"}}
    source = {"source": "image_folder", "path": "birds", "labels": table}
    ingest = IngestParams.model_validate({"stimulus_sets": {"birds": source}})
    grid = {"objective": "supervised", "architectures": ["cnn"], "seeds": [0], "labels": "tags"}
    grid["schedule"] = {"epochs": 1, "batch_size": 8, "learning_rate": 0.1}
    training = TrainingParams.model_validate({"stimulus_set": "birds", "grids": [grid]})
    [name] = training.networks()
    joint = {"fronts": [name], "ends": [name], "layers": "same", "include_self": True}
    params = StitchingParams.model_validate({"joints": [joint]})
    [(number, why)] = find_unfit_joints(params, FeaturesParams(), training, ingest)
    assert number == 0
    assert why.startswith(f"network {name!r} cannot be joined: it predicts several labels of an image")
    assert not list(find_unfit_joints(params, FeaturesParams(), training, None))
