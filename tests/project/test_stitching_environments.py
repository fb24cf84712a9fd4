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


def _networks_of_labels(*labels, objective="supervised", seeds=(0,), file="labels.csv"):
    columns = ["kind", "breed", "second_view"]
    table = {"file": str(file), "id": "image", "label": columns, "multi_label": {"tags": ";", "marks": ";"}}
    source = {"source": "image_folder", "path": "birds", "labels": table}
    ingest = IngestParams.model_validate({"stimulus_sets": {"birds": source}})
    schedule = {"epochs": 1, "batch_size": 8, "learning_rate": 0.1}
    common = {"objective": objective, "architectures": ["cnn"], "seeds": [*seeds], "schedule": schedule}
    grids = [{**common, "labels": label, "label": f"p{n}"} for n, label in enumerate(labels)]
    return TrainingParams.model_validate({"stimulus_set": "birds", "grids": grids}), ingest


def test_networks_of_one_and_of_several_labels_are_refused_before_the_run():
    training, ingest = _networks_of_labels("tags", "kind")
    several, one = training.networks()
    joint = {"fronts": [one], "ends": [several, one], "layers": "same", "include_self": True}
    params = StitchingParams.model_validate({"joints": [joint]})
    [(number, why)] = find_unfit_joints(params, FeaturesParams(), training, ingest)
    assert number == 0
    assert why.startswith(f"{several} predicts several labels of an image and {one} predicts one; join")
    assert not list(find_unfit_joints(params, FeaturesParams(), training, None))


@pytest.mark.parametrize(
    ("columns", "refused"),
    [
        (("kind", "breed"), ("2 classes of birds, kind", "3 classes of birds, breed")),
        ((None, "breed"), ("2 classes of birds, kind", "3 classes of birds, breed")),
        (("tags", "marks"), ("3 classes of birds, tags", "2 classes of birds, marks")),
        (("kind", "second_view"), None),
        ((None, "kind"), None),
    ],
)
def test_networks_of_columns_of_other_classes_are_refused_before_the_run(tmp_path, columns, refused):
    rows = ["image,kind,breed,second_view,tags,marks", "1,owl,tawny,gull,a;b,a", "2,gull,herring,owl,c,b"]
    file = tmp_path / "labels.csv"
    file.write_text("\n".join([*rows, "3,gull,black,,,a;b"]))
    training, ingest = _networks_of_labels(*columns, file=file)
    front, end = training.networks()
    params = StitchingParams.model_validate({"joints": [{"fronts": [front], "ends": [end]}]})
    found = list(find_unfit_joints(params, FeaturesParams(), training, ingest))
    if refused is None:
        assert not found
        return
    expected = f"{front} ({refused[0]}) and {end} ({refused[1]}) have other label sets; join networks of"
    assert [why for _, why in found] == [f"{expected} the same classes"]
    file.unlink()  # as on a machine without the images
    assert not list(find_unfit_joints(params, FeaturesParams(), training, ingest))


def test_a_network_without_a_head_is_refused_before_the_run():
    training, _ = _networks_of_labels(None, objective="simclr")
    [name] = training.networks()
    joint = {"fronts": [name], "ends": [name], "include_self": True}
    params = StitchingParams.model_validate({"joints": [joint]})
    [(_, why)] = find_unfit_joints(params, FeaturesParams(), training)
    assert why == f"network {name!r} has no head (simclr); stitching needs labels"


UNFIT = {
    "of one recipe": ({"layers": ["rellu2"]}, "unknown layer 'rellu2'; did you mean 'relu2'"),
    "one of all": (
        {"fronts": ["cnn_supervised_p0_s1"], "layers": ["relu2", "fc"]}, "nothing follows layer 'fc'",
    ),
    "with itself": (
        {"fronts": ["cnn_supervised_p0_s0"], "ends": ["cnn_supervised_p0_s0"]}, "it joins no networks; name",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNFIT)
def test_joints_of_all_and_of_nothing_are_refused_before_the_run(case):
    joint, message = UNFIT[case]
    training, _ = _networks_of_labels(None, seeds=[0, 1])
    params = StitchingParams.model_validate({"joints": [joint]})
    [(_, why)] = find_unfit_joints(params, FeaturesParams(), training)
    assert message in why
    alone, _ = _networks_of_labels(None)
    assert case == "with itself" or not list(find_unfit_joints(params, FeaturesParams(), alone))


def test_an_end_of_a_set_that_is_not_chosen_is_refused_before_the_run():
    training, _ = _networks_of_labels(None, seeds=[0, 1])
    joint = {"fronts": ["cnn_supervised_p0_s0"], "ends": ["cnn_supervised_p0_s1"]}
    params = StitchingParams.model_validate({"joints": [joint], "stimulus_sets": ["flowers"]})
    [(_, why)] = find_unfit_joints(params, FeaturesParams(), training)
    assert why.startswith(
        "cnn_supervised_p0_s1 was trained on 'birds', which stitching.stimulus_sets leaves out"
    )
