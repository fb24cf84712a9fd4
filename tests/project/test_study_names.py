"""Names that one parameter takes from others are refused before anything runs; and who reads what changed."""

from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from kedro.pipeline import Pipeline
from tests.project.conftest import ROOT

from rep_kedro.checks.readable import require_readable_networks
from rep_kedro.checks.references import (
    require_enough_stimuli,
    require_enough_to_draw,
    require_known_anchors,
)
from rep_kedro.checks.stale import describe_stale, find_stale, make_pipeline
from rep_kedro.checks.study_names import require_known_names
from rep_kedro.datasets.plan_file import write_plan
from rep_kedro.errors import UserError
from rep_kedro.models.architecture_files import look_in
from rep_kedro.models.building import build_network
from rep_kedro.pipelines import PIPELINES


class Catalog:
    """Collections by name: their folders, as far as they are there."""

    def __init__(self, **folders: Path) -> None:
        self._folders = folders

    def __contains__(self, name: str) -> bool:
        return name in self._folders

    def get(self, name: str) -> Any:
        return SimpleNamespace(folder=self._folders[name])


class Files:
    """A loader that knows no files."""

    conf_source = "nowhere"
    base_env: str | None = None
    default_run_env: str | None = None
    env: str | None = None


@pytest.fixture(scope="module")
def parameters() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted((ROOT / "conf/base").glob("parameters*.yml")):
        found |= yaml.safe_load(path.read_text()) or {}
    return found


def _check(parameters: dict[str, Any], *pipelines: str, catalog: Catalog | None = None) -> None:
    wanted = sum((make_pipeline(name) for name in pipelines or PIPELINES), Pipeline([]))
    require_known_names(parameters, {}, wanted, Files(), catalog or Catalog())


WRONG = {
    "similarity.models": (["cnn_simclr_s9"], "'cnn_simclr_s9' is not a network of this study; did you mean"),
    "similarity.stimulus_sets": (["digitz"], "is not a stimulus set of this study; did you mean 'digits'?"),
    "similarity.subset": ("analsis", "is not a stimulus subset of this study; did you mean 'analysis'?"),
    "training.stimulus_set": ("digitz", "is not a stimulus set of this study; did you mean 'digits'?"),
    "stitching.models": (["cnn_simclr_s9"], "is not a network of this study; did you mean"),
    "stitching.joints": (
        [{"fronts": ["cnn_supervised_s0"], "ends": ["cnn_simclr_s9"]}],
        "is not a network of this study; did you mean",
    ),
    "stitching.stimulus_sets": (["digitz"], "is not a stimulus set of this study; did you mean 'digits'?"),
    "probing.models": (["cnn_simclr_s9"], "is not a network of this study; did you mean"),
    "probing.stimulus_sets": (["digitz"], "is not a stimulus set of this study"),
    "probing.subset": ("analsis", "is not a stimulus subset of this study"),
    "probing.combinations": (
        {"two": {"models": ["cnn_simclr_s0", "x"]}},
        "'x' is not a network of this study",
    ),
    "diagnostics.models": (["cnn_simclr_s9"], "is not a network of this study"),
    "features.stimulus_sets": (["digitz"], "is not a stimulus set of this study"),
    "layer_similarity.models": (["cnn_simclr_s9"], "is not a network of this study; did you mean"),
    "layer_similarity.layers": (
        ["block*.*", "relu9"],
        "'relu9' fits no layer that has features; did you mean 're",
    ),
    "consistency.model_sets": ({"one": [{"anchor": "x"}]}, "'x' is not a network of this study"),
    "similarity_inference.measures": (["linear_regression_r2"], "has no permutation null"),
    "sample_sizes.measures": (["mutual_knn_10"], "has no curve over the number of stimuli"),
    "model_maps.measures": (["rsa_correlation_pearson"], "is not in similarity.measures; choose one of cka_"),
}


def test_the_study_as_it_is_has_no_unknown_name(parameters: dict[str, Any]) -> None:
    _check(parameters)


@pytest.mark.parametrize("place", WRONG)
def test_an_unknown_name_is_reported_with_its_place(parameters: dict[str, Any], place: str) -> None:
    changed, (group, _, key), (value, message) = deepcopy(parameters), place.partition("."), WRONG[place]
    changed[group][key] = value
    with pytest.raises(ValueError, match=f"^parameter {place}") as refused:
        _check(changed)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    _check(changed, "ingest")  # which reads none of these


@pytest.mark.parametrize(
    ("place", "layers", "message"),
    [
        (
            "probing.layer_probes",
            ["relu1", "relu33"],
            "'relu33' is not a layer of network 'cnn_supervised_s0'; did",
        ),
        (
            "diagnostics.projections",
            ["conv33"],
            "network 'cnn_supervised_s0': unknown layer 'conv33'; did you",
        ),
        ("diagnostics.projections", ["layer?.**", "fc"], "network 'resnet': unknown layer 'fc'"),
    ],
)
def test_layers_to_probe_or_to_project_that_a_network_lacks_are_refused(
    parameters: dict[str, Any], place: str, layers: list[str], message: str
) -> None:
    changed, (group, _, key) = deepcopy(parameters), place.partition(".")
    model = "resnet" if "fc" in layers else "cnn_supervised_s0"
    entry = {"source": "torchvision", "name": "resnet18", "weights": None, "layers": ["layer4"]}
    changed["features"]["models"] = {"resnet": entry}
    changed[group][key] = {"models": [model], "layers": layers}
    with pytest.raises(UserError, match=rf"^parameter {place}\.layers.*: {message}"):
        _check(changed, group)
    changed[group][key] = {"models": [model], "layers": layers[:1] if len(layers) > 1 else ["conv?"]}
    _check(changed, group)


@pytest.mark.parametrize(
    ("layers", "maps", "message"),
    [
        ({"relu2": "relu33"}, {}, "unknown layer 'relu33'; did you mean 'relu3'"),
        ({"relu1": "relu3"}, {"eye": {"fit": "start", "init": "eye"}}, r"maps\.eye \(eye\) needs layers of"),
    ],
)
def test_layers_that_cannot_be_stitched_are_refused(
    parameters: dict[str, Any], layers: Any, maps: Any, message: str
) -> None:
    changed = deepcopy(parameters)
    joint = {"fronts": ["cnn_supervised_s0"], "ends": ["cnn_supervised_s1"], "layers": layers}
    changed["stitching"] |= {"joints": [joint], **({"maps": maps} if maps else {})}
    with pytest.raises(UserError, match=rf"^parameter stitching\.joints\.0.*: {message}"):
        _check(changed, "stitching")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("models", ["cnn_simclr_s9"], "is not a network of this study; did you mean"),
        ("stimulus_sets", ["digitz"], "is not a stimulus set of this study; did you mean 'digits'?"),
        ("subset", "analsis", "is not a stimulus subset of this study; did you mean 'analysis'?"),
    ],
)
def test_unknown_names_of_projections_are_refused(
    parameters: dict[str, Any], key: str, value: Any, message: str
) -> None:
    changed = deepcopy(parameters)
    changed["diagnostics"]["projections"] = {"models": [], key: value}
    with pytest.raises(ValueError, match=f"^parameter diagnostics.projections.{key}") as refused:
        _check(changed, "diagnostics")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("layers", "requested", "is_refused"),
    [
        ("zzz*", ["layer1", "blocks.*"], True),
        ("blockx", ["layer1", "blocks.*"], True),
        ("blocks.3", ["layer1", "blocks.*"], False),
        ("bl*", ["layer1", "blocks.*"], False),
        ("blocks.**.fc", ["layer1", "blo*"], False),
        ({"every": 2}, ["layer1"], False),
    ],
)
def test_layers_that_no_network_can_have_are_refused_and_others_left_to_the_run(
    parameters: dict[str, Any], layers: Any, requested: list[str], is_refused: bool
) -> None:
    changed = deepcopy(parameters)
    changed["training"]["grids"] = []
    changed["features"]["models"] = {"own": {"source": "timm", "name": "resnet18", "layers": requested}}
    changed["layer_similarity"] |= {"models": ["own"], "layers": layers}
    if is_refused:
        with pytest.raises(UserError, match=r"^parameter layer_similarity.layers: .* fits no layer"):
            _check(changed, "layer_similarity")
    else:
        _check(changed, "layer_similarity")


FOREIGN = {"source": "checkpoint", "architecture": "cnn", "path": "a.pt", "n_classes": 10}
TABLE = {"file": "labels.csv", "id": "name", "label": ["breed", "colour"]}
TAKEN = {
    "features.models.cnn_simclr_s0": (FOREIGN, "has the name of a network trained here; choose another"),
    "probing.combinations.cnn_simclr_s1": (
        {"models": ["cnn_simclr_s0", "cnn_simclr_s1"]},
        "has the name of a network; choose another",
    ),
    "probing.labels.digitz": (
        "breed",
        "'digitz' is not a stimulus set of this study; did you mean 'digits'?",
    ),
    "probing.labels.digits": ("breed", "'breed' is not a label of digits; known: label"),
    "ingest.stimulus_sets.mean": (
        {"source": "digits"},
        "has the name of the mean over stimulus sets; choose another",
    ),
}


@pytest.mark.parametrize("place", TAKEN)
def test_a_name_that_something_else_has_is_refused(parameters: dict[str, Any], place: str) -> None:
    changed, (group, key, name), (entry, message) = deepcopy(parameters), place.split("."), TAKEN[place]
    changed[group][key] = {**(changed[group].get(key) or {}), name: entry}
    with pytest.raises(UserError) as refused:
        _check(changed)
    assert str(refused.value) == f"parameter {place}: {message}"


def test_a_label_that_a_table_does_not_give_is_refused(parameters: dict[str, Any]) -> None:
    changed = deepcopy(parameters)
    changed["ingest"]["stimulus_sets"]["pets"] = {"source": "image_folder", "path": "pets", "labels": TABLE}
    changed["probing"]["labels"] = {"pets": "colour"}
    _check(changed)
    changed["probing"]["labels"] = {"pets": "color"}
    with pytest.raises(
        UserError, match=r"probing.labels.pets: 'color' is not a label of pets; did you mean 'colour'"
    ):
        _check(changed)


def test_a_network_without_features_may_be_an_anchor_but_is_not_compared(parameters: dict[str, Any]) -> None:
    changed = deepcopy(parameters)
    changed["features"]["networks"] = ["cnn_supervised_s0"]
    changed["consistency"]["model_sets"] = {"one": [{"anchor": "cnn_simclr_s0"}]}
    require_known_anchors(changed, {}, Files())
    _check(changed)
    changed["similarity"]["models"] = ["cnn_simclr_s0"]
    with pytest.raises(ValueError, match=r"is trained here, but features\.networks leaves it out"):
        _check(changed)


def test_measures_of_what_is_not_computed_are_not_looked_at(parameters: dict[str, Any]) -> None:
    changed = deepcopy(parameters)
    changed["similarity_inference"] |= {"measures": ["linear_regression_r2"], "n_permutations": 0}
    changed["similarity_inference"]["n_bootstrap"] = 0
    changed["sample_sizes"] |= {"measures": ["mutual_knn_10"], "n_orders": 0}
    _check(changed)


def test_what_is_there_may_be_named_unless_the_run_makes_it_anew(
    parameters: dict[str, Any], tmp_path: Path
) -> None:
    write_plan(tmp_path, "features", {"digits/of_last_year": "{}"}, left_out={}, partial={})
    changed = deepcopy(parameters)
    changed["similarity"]["models"] = ["of_last_year"]
    catalog = Catalog(features=tmp_path)
    _check(changed, "similarity", catalog=catalog)
    with pytest.raises(ValueError, match="'of_last_year' is not a network of this study"):
        _check(changed, "features", "similarity", catalog=catalog)


def test_parameters_that_are_not_valid_are_left_to_whoever_reads_them(parameters: dict[str, Any]) -> None:
    changed = deepcopy(parameters) | {"training": {"grids": 3}, "ingest": {"stimulus_sets": 3}}
    changed["similarity"]["models"] = ["x"]
    _check(changed, "similarity")


class There:
    """A catalog in which some things are there."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def exists(self, name: str) -> bool:
        return name in self._names


def test_pipelines_that_read_what_changed_are_named_through_others() -> None:
    everything = There(*{name for pipeline in PIPELINES for name in make_pipeline(pipeline).all_outputs()})
    ran = make_pipeline("similarity")
    assert find_stale({"similarity_matrices"}, ran, everything) == ["probing", "reporting"]
    assert find_stale({"similarity_nulls"}, ran, everything) == ["reporting"]
    assert describe_stale({"probes"}, make_pipeline("probing"), everything) == (
        "reporting reads what changed here; update it with: kedro run --pipelines=reporting"
    )
    everyone = sum(map(make_pipeline, PIPELINES), Pipeline([]))
    assert describe_stale({"features"}, everyone, everything) == ""


def test_what_was_never_made_is_not_stale() -> None:
    there = There("report")
    assert find_stale({"features"}, make_pipeline("features"), there) == ["reporting"]
    assert find_stale({"features"}, make_pipeline("features"), There()) == []


def test_the_rest_of_a_pipeline_that_ran_in_part_is_stale() -> None:
    there = There("model_cards", "similarities", "report")
    ran = make_pipeline("features").only_nodes("features")
    said = describe_stale({"features"}, ran, there, env="test")
    assert said.endswith("kedro run --env=test --pipelines=features,similarity,reporting")


def test_an_unknown_anchor_is_reported_with_both_ways_out(parameters: dict[str, Any]) -> None:
    changed = deepcopy(parameters)
    changed["consistency"]["anchors"] = ["cnn_simclr_s9"]
    said = r"did you mean .*\? \(or set consistency\.anchors: \[\]\)$"
    with pytest.raises(ValueError, match=said):
        require_known_anchors(changed, {}, Files())
    require_known_anchors(parameters, {}, Files())


@pytest.mark.parametrize("name", ["n_clusters", "n_neighbours"])
def test_more_clusters_or_neighbours_than_stimuli_are_refused(parameters: dict[str, Any], name: str) -> None:
    changed = deepcopy(parameters)
    n = sum(changed["ingest"]["stimulus_subsets"]["shapes"]["analysis"]["total"].values())
    changed["diagnostics"] |= {"label_free": {name: n}, "stimulus_sets": ["shapes"]}
    said = (
        rf"label_free: {name} {n} must be below {n}, the stimuli of subset 'analysis' of 'shapes'; lower it"
    )
    with pytest.raises(ValueError, match=said):
        require_enough_stimuli(changed, {}, Files())
    changed["diagnostics"]["label_free"] = {name: n - 1}
    require_enough_stimuli(changed, {}, Files())
    changed["diagnostics"] |= {"label_free": {name: n}, "stimulus_sets": ["digits"]}
    require_enough_stimuli(changed, {}, Files())


def test_more_training_stimuli_than_a_subset_draws_of_each_class_are_refused(
    parameters: dict[str, Any],
) -> None:
    changed = deepcopy(parameters)
    changed["ingest"]["stimulus_subsets"]["digits"]["analysis"] = {"per_class": {"train": 6, "test": 3}}
    changed["probing"]["few_shot"] = 7
    with pytest.raises(
        UserError, match=r"^parameter probing\.few_shot: 7 must be at most 6, the training st"
    ):
        require_enough_to_draw(changed, {}, Files())
    for key, value in (("few_shot", 6), ("labels", {"digits": "other"}), ("stimulus_sets", ["shapes"])):
        allowed = {**changed, "probing": {**changed["probing"], key: value}}
        require_enough_to_draw(allowed, {}, Files())


def test_layers_without_positions_cannot_be_attended_to(parameters: dict[str, Any]) -> None:
    changed = deepcopy(parameters)
    maps = {"models": ["cnn_supervised_s0"], "layers": ["mean"], "attentive": {}}
    changed["probing"]["layer_probes"] = maps
    with pytest.raises(
        UserError, match="'cnn_supervised_s0': layer 'mean' has no positions or tokens to att"
    ):
        _check(changed, "probing")
    changed["probing"]["layer_probes"] = maps | {"layers": ["conv3"]}
    _check(changed, "probing")


def test_each_file_of_weights_that_does_not_fit_is_reported_in_one_line(
    parameters: dict[str, Any], tmp_path: Path
) -> None:
    torch.save(build_network("cnn", n_classes=7, seed=0).state_dict(), tmp_path / "seven.pth")
    (tmp_path / "pointer.pth").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    entry = {"source": "checkpoint", "architecture": "cnn", "n_classes": 10}
    changed = deepcopy(parameters)
    changed["features"]["models"] = {
        "seven": {**entry, "path": str(tmp_path / "seven.pth")},
        "pointer": {**entry, "path": str(tmp_path / "pointer.pth")},
        "absent": {**entry, "path": str(tmp_path / "absent.pth")},
        "right": {**entry, "path": str(tmp_path / "seven.pth"), "n_classes": 7},
        "elsewhere": {**entry, "url": "https://example.org/net.pth", "sha256": "ab" * 32},
    }
    with pytest.raises(ValueError, match=r"^parameter features\.models\.seven: ") as refused:
        require_readable_networks(changed, {}, make_pipeline("features"), Files())
    lines = str(refused.value).splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        f"parameter features.models.{name}" for name in ("seven", "pointer", "absent")
    ]
    assert (
        "fc.weight is 7x24, not 10x24, fc.bias is 7, not 10; set n_classes: 7, or left_out: [fc]" in lines[0]
    )
    require_readable_networks(changed, {}, make_pipeline("similarity"), Files())  # which reads none of them


def test_an_architecture_whose_layers_do_not_fit_is_reported_before_the_run(
    parameters: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "local/architectures"
    folder.mkdir(parents=True)
    layers = [{"name": "a", "kind": "conv", "channels": 10**6, "kernel": 1}, {"name": "b", "kind": "mean"}]
    shown = {"channels": 3, "size_px": 32, "mean": [0.0] * 3, "std": [1.0] * 3}
    content = {"description": "wide", "input": shown, "layers": layers, "keep": ["b"]}
    (folder / "wide.yml").write_text(yaml.safe_dump(content))
    changed = deepcopy(parameters)
    changed["training"]["grids"][0]["architectures"].append("wide")
    look_in(tmp_path)
    try:
        with pytest.raises(ValueError, match=r"^parameter training.grids: architecture 'wide': layer 'a' is"):
            _check(changed)
    finally:
        look_in(Path("conf"))
