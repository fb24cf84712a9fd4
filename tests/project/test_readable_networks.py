"""Networks that could not be read as their entries say are refused before any work, a line for each."""

from types import SimpleNamespace
from typing import Any

import pytest
from kedro.pipeline import Pipeline
from tests.project.test_study_names import Files, parameters  # noqa: F401 - a fixture

from rep_kedro.checks.readable import require_readable_networks
from rep_kedro.checks.stale import make_pipeline
from rep_kedro.commands.session import require_names
from rep_kedro.errors import UserError
from rep_kedro.models import outline
from rep_kedro.pipelines import PIPELINES

TIMM = {"source": "timm", "name": "test_resnet", "pretrained": False}
TORCHVISION = {"source": "torchvision", "name": "resnet18", "weights": None}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("REP_KEDRO_CACHE", str(tmp_path / "cache"))


def _check(parameters: dict[str, Any], *pipelines: str, **features: Any) -> None:  # noqa: F811
    changed = {**parameters, "features": {**parameters["features"], **features}}
    wanted = sum((make_pipeline(name) for name in pipelines or PIPELINES), Pipeline([]))
    require_readable_networks(changed, {}, wanted, Files())


def test_every_mistake_has_a_line_with_its_place_and_close_matches(parameters):  # noqa: F811
    models = {
        "right": {**TIMM, "layers": ["layer1", "layer*"]},
        "layer": {**TORCHVISION, "layers": ["layr4"]},
        "name": {**TIMM, "name": "resnet81", "layers": ["layer1"]},
        "size": {**TIMM, "name": "swin_tiny_patch4_window7_224", "size_px": 3, "layers": ["layers.0"]},
        "pooling": {**TORCHVISION, "layers": ["layer4"], "pooling": "cls"},
        "idle": {**TIMM, "name": "test_vit", "layers": ["blocks.0.attn.attn_drop"]},
        "call": {**TORCHVISION, "layers": ["layer1.0.relu"]},
        "own": {"source": "trained", "network": "cnn_supervised_s0", "layers": ["rleu1"]},
        "file": {"source": "checkpoint", "architecture": "cnn", "path": "x.safetensors", "layers": ["rleu3"]},
    }
    groups = {"more": {"grouped": {**TIMM, "layers": ["layer9"]}}}
    with pytest.raises(UserError) as refused:
        _check(parameters, models=models, model_groups=groups, groups=["more"])
    lines = dict(
        line.removeprefix("parameter features.").split(": ", 1) for line in str(refused.value).split("\n")
    )
    assert list(lines) == [
        *(f"models.{name}" for name in models if name != "right"),
        "model_groups.more.grouped",
    ]
    assert lines["models.layer"].startswith("unknown layer 'layr4'; did you mean 'layer4'")
    assert lines["models.name"].startswith("unknown timm model 'resnet81'; did you mean 'resnet18'")
    assert lines["models.size"].startswith(
        "'swin_tiny_patch4_window7_224' fails on one image in layer 'patch_embed.proj', which receives 1 x 3"
    )
    assert lines["models.pooling"].startswith("layer 'layer4': pooling 'cls' needs tokens, got a map")
    assert lines["models.idle"].startswith("layer 'blocks.0.attn.attn_drop' exists but is never called")
    assert lines["models.call"].startswith(
        "layer 'layer1.0.relu' is called 2 times; name one of layer1.0.relu@1"
    )
    assert lines["models.own"].startswith("unknown layer 'rleu1'; did you mean 'relu1'")
    assert lines["models.file"].startswith("unknown layer 'rleu3'; did you mean 'relu3'")
    assert lines["model_groups.more.grouped"].startswith("unknown layer 'layer9'; did you mean 'layer")


def test_runs_that_make_no_features_build_no_network(parameters, monkeypatch):  # noqa: F811
    monkeypatch.setattr(outline, "build_on_meta", None)
    _check(parameters, "similarity", models={"wrong": {**TORCHVISION, "layers": ["nowhere"]}})


def test_what_was_found_readable_is_not_built_again_until_its_entry_changes(parameters, monkeypatch):  # noqa: F811
    built = []
    build = outline.build_on_meta
    monkeypatch.setattr(outline, "build_on_meta", lambda entry: built.append(entry.layers) or build(entry))
    for layers in (["layer1"], ["layer1"], ["layer2"], ["layer1"]):
        _check(parameters, models={"a": {**TIMM, "layers": layers}})
    assert built == [("layer1",), ("layer2",)]
    for _ in range(2):  # what was refused is looked at again
        with pytest.raises(UserError, match="unknown layer"):
            _check(parameters, models={"a": {**TIMM, "layers": ["layer7"]}})
    assert len(built) == 4
    monkeypatch.setattr("rep_kedro.checks.readable.version", lambda library: "another")
    _check(parameters, models={"a": {**TIMM, "layers": ["layer1"]}})
    assert len(built) == 5


def test_a_dry_run_refuses_as_the_run_does(parameters):  # noqa: F811
    wrong = {"a": {**TIMM, "layers": ["features.99"]}}
    changed = {**parameters, "features": {**parameters["features"], "models": wrong}}
    context = SimpleNamespace(config_loader=_Parameters(changed), catalog={})
    with pytest.raises(UserError, match=r"^parameter features\.models\.a: unknown layer 'features\.99'"):
        require_names(context, {}, make_pipeline("features"))


class _Parameters(Files):
    def __init__(self, parameters: dict[str, Any]) -> None:  # noqa: F811
        self._parameters = parameters

    def __getitem__(self, name: str) -> Any:
        return {"parameters": self._parameters}[name]


def test_a_plan_names_a_file_that_is_not_here_and_goes_on(parameters, caplog):  # noqa: F811
    absent = {"source": "features", "files": {"digits": {"path": "nothing.npz", "ids": "stimulus"}}}
    changed = parameters | {"features": parameters["features"] | {"models": {"a": absent, "b": absent}}}
    features = make_pipeline("features")
    with pytest.raises(UserError, match=r"features\.models\.b: file of features nothing\.npz does not exist"):
        require_readable_networks(changed, {}, features, Files())
    with caplog.at_level("WARNING"):
        require_readable_networks(changed, {}, features, Files(), may_lack_files=True)
    assert "a run needs a file that is not here: parameter features.models.a" in caplog.text
    assert "and 1 further network without its own" in caplog.text
