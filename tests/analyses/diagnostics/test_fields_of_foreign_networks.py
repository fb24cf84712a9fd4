"""Receptive fields of networks from elsewhere: what can be followed is, what cannot is named."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.small_collections import ARROW, make_network, make_stimuli, make_subset, run_plan, store

from rep_kedro.analyses.diagnostics.params import DiagnosticsParams
from rep_kedro.analyses.diagnostics.receptive_fields import compute_receptive_fields, counted_entries
from rep_kedro.features.params import FeaturesParams
from rep_kedro.models.building import build_network
from rep_kedro.models.outline import build_on_meta
from rep_kedro.pipelines.features.nodes import plan_features
from rep_kedro.schemas.diagnostics import RECEPTIVE_FIELDS

DRAWN = {"pretrained": False}
COUNTING = """
from torch import nn

class Odd(nn.Module):
    def forward(self, x):
        return x.renorm(2, 1, 5.0)

class Counting(nn.Module):
    def __init__(self, kernel=3):
        super().__init__()
        self.conv, self.odd = nn.Conv2d(3, 4, kernel), Odd()

    def forward(self, x):
        return self.odd(self.conv(x))
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    save_file(build_network("cnn", n_classes=3, seed=0).state_dict(), folder / "cnn.safetensors")
    (folder / "counting.py").write_text(COUNTING)
    pixels = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3), dtype=np.uint8)
    labels, splits = [0, 1], ["train", "test"]
    networks = store(folder / "networks", {"own": make_network("cnn", seed=0, n_classes=3, stimulus_set="d")})
    models = {
        "resnet": {
            "source": "torchvision",
            "name": "resnet18",
            "weights": None,
            "layers": ["layer*", "avgpool"],
        },
        "timm": {"source": "timm", "name": "resnet18", "layers": ["conv1", "layer4"], **DRAWN},
        "vit": {"source": "timm", "name": "test_vit", "layers": ["patch_embed", "norm"], **DRAWN},
        "mixer": {"source": "timm", "name": "mixer_s32_224", "layers": ["stem", "norm"], **DRAWN},
        "file": {
            **{"source": "checkpoint", "architecture": "cnn", "path": str(folder / "cnn.safetensors")},
            "n_classes": 3,
        },
        "counting": {
            **{"source": "python", "file": str(folder / "counting.py"), "class": "Counting"},
            "layers": ["conv", "odd"],
            "preprocessing": {"size_px": 16, "mean": [0.5] * 3, "std": [0.5] * 3},
        },
        "other_layers": {"source": "trained", "network": "own", "layers": ["relu1"]},
    }
    registry = FeaturesParams.model_validate({"models": models, "allow_code": True})
    features = run_plan(
        folder / "features",
        plan_features(
            store(folder / "sets", {"d": make_stimuli(pixels, labels, splits, ["a", "b"])}, ARROW),
            store(folder / "subsets", {"d/analysis": make_subset(labels, splits)}, ARROW),
            networks,
            registry,
        ),
    )
    return networks, features, registry


@pytest.fixture(scope="module")
def fields(study):
    return compute_receptive_fields(study[0], DiagnosticsParams(), study[1], study[2])


def _sizes(fields, model):
    return fields[fields["model"] == model].set_index("layer")["receptive_field_px"].to_dict()


def test_a_published_architecture_has_the_published_fields(fields):
    assert list(fields.columns) == list(RECEPTIVE_FIELDS.names)
    # 7, then 3 x 3 convolutions and strides: 11, 43, 99, 211, 435 as published for ResNet-18
    assert _sizes(fields, "resnet") | {"avgpool": 0} == {
        **{"layer1": 43, "layer2": 99, "layer3": 211, "layer4": 435},
        "avgpool": 0,
    }
    assert _sizes(fields, "timm") == {"conv1": 7, "layer4": 435}
    assert set(fields[fields["model"] == "resnet"]["input_px"]) == {224}


def test_a_field_is_where_the_gradient_of_the_middle_comes_from(fields):
    """Straight from the definition: pixels on which one position depends, with all weights positive."""
    from rep_kedro.models.sources.specs import TorchvisionModel
    from rep_kedro.models.sources.zoo import build_model

    entry = TorchvisionModel(source="torchvision", name="resnet18", weights=None, layers=("layer1",))
    module = build_model(entry)
    module.maxpool = torch.nn.AvgPool2d(3, 2, 1)  # all of a window, not the largest alone
    for parameter in module.parameters():
        parameter.data.abs_()
    image = torch.ones(1, 3, 224, 224, requires_grad=True)
    steps = torch.nn.Sequential(module.conv1, module.bn1, module.relu, module.maxpool, module.layer1)
    steps(image)[0, :, 28, 28].sum().backward()
    touched = (image.grad[0].abs().sum(dim=(0, 1)) > 0).nonzero()
    assert int(touched.max() - touched.min() + 1) == _sizes(fields, "resnet")["layer1"]


def test_files_and_entries_of_trained_networks_have_the_fields_of_the_trained(fields):
    own = _sizes(fields, "own")
    assert _sizes(fields, "file") == own
    assert _sizes(fields, "other_layers") == {"relu1": own["relu1"]}


def test_the_border_is_marked_as_for_trained_networks(fields):
    table = fields[fields["model"] == "resnet"].set_index("layer")
    assert table["is_beyond_border"].to_dict() == {
        **{"layer1": False, "layer2": False, "layer3": False},
        **{"layer4": True, "avgpool": True},
    }
    assert table["is_border"].sum() == 1


def test_behind_attention_every_position_sees_the_image(fields):
    assert _sizes(fields, "vit") == {"patch_embed": 16, "norm": 160}


def test_behind_mixing_of_positions_every_position_sees_the_image(fields):
    assert _sizes(fields, "mixer") == {"stem": 32, "norm": 224}


def _table(study, registry=None):
    return compute_receptive_fields(study[0], DiagnosticsParams(), study[1], registry or FeaturesParams())


def test_layers_behind_an_operator_that_is_not_known_have_rows_with_the_reason(study, fields):
    table = fields[fields["model"] == "counting"].set_index("layer")
    assert table["receptive_field_px"].isna().tolist() == [False, True]
    why = "layer 'odd' calls the operator renorm, whose receptive field is not known"
    assert table["reason"].tolist() == ["", why]
    assert not table["is_beyond_border"].any()
    RECEPTIVE_FIELDS.frame(fields)


def test_code_of_the_user_runs_only_where_its_entry_is_the_one_of_the_features(study, fields):
    table = _table(study)
    rows = table[table["model"] == "counting"]
    assert rows["receptive_field_px"].isna().all()
    assert set(rows["reason"]) == {"a network of source python is code, which is not run from a recipe"}
    entry = study[2].models["counting"]
    other = FeaturesParams(
        models={"counting": entry.model_copy(update={"arguments": {"kernel": 5}})}, allow_code=True
    )
    table = _table(study, other)
    rows = table[table["model"] == "counting"]
    (why,) = set(rows["reason"])
    assert why.endswith("counting.py:Counting' is not the one that its features were made of; run again")
    assert counted_entries(study[2]).keys() == {"counting"}


def test_one_network_that_cannot_be_built_does_not_end_the_others(study, fields, monkeypatch, caplog):
    def build(entry):
        if getattr(entry, "name", "") == "test_vit":
            raise NotImplementedError("Cannot copy out of meta tensor")
        return build_on_meta(entry)

    monkeypatch.setattr("rep_kedro.models.outline.build_on_meta", build)
    table = _table(study, study[2])
    others = fields["model"] != "vit"
    assert table[table["model"] != "vit"].equals(fields[others])
    why = "NotImplementedError: Cannot copy out of meta tensor"
    assert set(table.loc[table["model"] == "vit", "reason"]) == {why}
    assert f"no receptive fields of vit: {why}" in caplog.text


def test_without_features_only_trained_networks_have_rows(study):
    assert set(compute_receptive_fields(study[0], DiagnosticsParams())["model"]) == {"own"}
