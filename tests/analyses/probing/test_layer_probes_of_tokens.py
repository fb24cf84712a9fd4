"""Probes of maps and tokens of networks from elsewhere, and settings of single networks."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from tests.small_collections import ARROW, make_network, make_stimuli, run_plan, store, store_networks

from rep_kedro.analyses.probing.layer_tasks import Output, list_tasks
from rep_kedro.analyses.probing.params import LayerProbesParams, ProbingParams
from rep_kedro.checks.probed_layers import find_layers_without_probe
from rep_kedro.datasets import Tensors
from rep_kedro.errors import UserError
from rep_kedro.features.images import stream_inputs
from rep_kedro.features.params import FeaturesParams
from rep_kedro.models.families.library import TimmVariant
from rep_kedro.models.sources.zoo import load_model
from rep_kedro.pipelines.probing.layer_nodes import plan_layer_probes, tabulate_layer_probe_results
from rep_kedro.training.params import TrainingParams

N_TRAIN, N_TEST, N_CLASSES = 36, 24, 3
LABELS = [i % N_CLASSES for i in range(N_TRAIN + N_TEST)]
DRAWN = {"pretrained": False, "size_px": 64, "seed": 1}
ENTRIES = {
    "vit": {"source": "timm", "name": "test_vit", "layers": ["blocks.1", "head"], **DRAWN},
    "registers": {"source": "timm", "name": "test_vit3", "layers": ["blocks.1"], **DRAWN},
    "maps_last": {"source": "timm", "name": "test_convnext", "layers": ["stages.1", "head.norm"], **DRAWN},
    "again": {"source": "trained", "network": "net", "layers": ["conv1"]},
    "array": {"source": "features", "files": {"bars": {"path": "x.npy", "row_order": "shown"}}},
}


@pytest.fixture(scope="module")
def features():
    entries = {name: entry for name, entry in ENTRIES.items() if name != "array"}
    return FeaturesParams(models=entries)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    pixels = np.random.default_rng(0).integers(0, 100, size=(len(LABELS), 16, 16, 3), dtype=np.uint8)
    for image, label in zip(pixels, LABELS, strict=True):
        image[2:6, 4 * label : 4 * label + 4] += 100
    splits = ["train"] * N_TRAIN + ["test"] * N_TEST
    stimuli = make_stimuli(pixels, LABELS, splits, class_names=["a", "b", "c"])
    given = {"seed": 0, "n_classes": N_CLASSES, "stimulus_set": "bars"}
    variant = TimmVariant(name="test_vit", size_px=32, layers=("blocks.*",)).define()
    own = make_network(variant, **given)
    networks = {
        "net": make_network("cnn", **given),
        "own_vit": Tensors(own.tensors, {**own.meta, "architecture": "own_vit"}),
    }
    return (
        store(folder / "sets", {"bars": stimuli}, ARROW),
        store(folder / "subsets", {"bars/analysis": stimuli.drop_columns(["image"])}, ARROW),
        store_networks(folder / "networks", networks),
    )


def _plan(study, features, *models, **params):
    wanted = {"models": list(models), "pooled_sides": [1, 2], "positions": True} | params
    return plan_layer_probes(*study, features, ProbingParams(layer_probes=wanted))


def _patches(model, study, layer):
    """Return the map of the patches by a hook of its own, (n_stimuli, channels, rows, columns)."""
    sets, subsets, _ = study
    stream = stream_inputs(
        sets["bars"], subsets["bars/analysis"], model.preprocessing, batch_size=100, device="cpu"
    )
    images = torch.cat(list(stream))
    found = []
    model.module.get_submodule(layer).register_forward_hook(lambda _, __, output: found.append(output))
    with torch.no_grad():
        model.module(images)
    [tokens] = found
    if tokens.ndim == 4:
        return tokens
    tokens = tokens[:, model.module.num_prefix_tokens :]
    side = int(tokens.shape[1] ** 0.5)
    return tokens.mT.unflatten(2, (side, side))


def _accuracy(x):
    x, labels = x.half().float().numpy(), np.array(LABELS)
    theirs = LogisticRegression(tol=1e-4, max_iter=100).fit(x[:N_TRAIN], labels[:N_TRAIN])
    return theirs.score(x[N_TRAIN:], labels[N_TRAIN:])


@pytest.mark.parametrize("name", ["vit", "registers", "maps_last"])
def test_networks_from_elsewhere_are_probed_without_the_tokens_before_the_patches(
    study, features, name, tmp_path
):
    layer = ENTRIES[name]["layers"][0]
    rows = tabulate_layer_probe_results(run_plan(tmp_path, _plan(study, features, name, layers=[layer])))
    assert set(rows["model"]) == {name}
    maps = _patches(load_model(features.entries()[name]), study, layer)
    side = maps.shape[2]
    assert len(rows) == 2 + side**2
    found = rows.set_index("readout")
    assert found.loc["1x1", "test_accuracy"] == pytest.approx(_accuracy(maps.mean((2, 3))), abs=1.5 / N_TEST)
    assert found.loc["1x1", "n_features"] == maps.shape[1]
    halves = torch.nn.functional.adaptive_avg_pool2d(maps, 2).flatten(1)
    assert found.loc["2x2", "test_accuracy"] == pytest.approx(_accuracy(halves), abs=1.5 / N_TEST)
    for i, j in ((0, 0), (side - 1, 0), (0, side - 1)):
        own = found.loc[f"{i},{j}", "test_accuracy"]
        assert own == pytest.approx(_accuracy(maps[:, :, i, j]), abs=1.5 / N_TEST)


def test_a_vit_trained_here_has_a_probe_for_each_patch(study, features, tmp_path):
    rows = tabulate_layer_probe_results(
        run_plan(tmp_path, _plan(study, features, "own_vit", layers=["blocks.0", "head"], pooled_sides=[1]))
    )
    n_rows = rows.groupby("layer").size().to_dict()
    assert n_rows == {"blocks.0": 1 + 4, "head": 1}


def test_all_are_the_networks_trained_here_and_the_entries_with_their_own_layers(study, features):
    plan = _plan(study, features, models="all", pooled_sides=[1], positions=False)
    recipes = [planned.recipe for planned in plan.values()]
    by_name = {}
    for recipe in recipes:
        by_name.setdefault(recipe.get("model") or recipe["network"]["key"], []).append(recipe["layer"])
    assert set(by_name) == {"net", "own_vit", "vit", "registers", "maps_last", "again"}
    assert by_name["vit"] == ["blocks.1", "head"]
    assert by_name["again"] == ["conv1"]
    assert len(plan.notes) == 6


def test_networks_may_have_settings_of_their_own(study, features):
    plan = _plan(
        study,
        features,
        *("net", "vit", "own_vit"),
        layers=["conv1"],
        by_network={"*vit": {"layers": ["blocks.0"], "positions": False, "precision": "float32"}},
    )
    found = [(key, planned.recipe["precision"]) for key, planned in plan.items()]
    assert sorted(found) == [
        ("bars/net+conv1+1x1", "float16"),
        ("bars/net+conv1+2x2", "float16"),
        ("bars/net+conv1+positions", "float16"),
        ("bars/own_vit+blocks.0+1x1", "float32"),
        ("bars/own_vit+blocks.0+2x2", "float32"),
        ("bars/vit+blocks.0+1x1", "float32"),
        ("bars/vit+blocks.0+2x2", "float32"),
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"models": ["vit"], "by_network": {"vitt": {}}},
            "'vitt' fits no network of models; did you mean 'vit'",
        ),
        ({"by_network": {"vit": {"layerz": []}}}, "layerz"),
        ({"by_network": {"vit": {"pooled_sides": []}}}, "nothing to probe"),
        ({"by_network": {"vit": {"c": 2}}}, "by_network.vit.c"),
    ],
)
def test_wrong_settings_of_single_networks_are_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        LayerProbesParams(**given)


def test_an_array_made_elsewhere_is_refused(study):
    features = FeaturesParams(models={"array": ENTRIES["array"]})
    with pytest.raises(UserError, match=r"probing\.layer_probes\.models: 'array' is an array made elsewhere"):
        _plan(study, features, "array")


def test_tokens_without_a_known_grid_can_only_be_attended_to():
    outputs = {"pruned": Output(8, (13,))}
    for given in ({"pooled_sides": [1]}, {"pooled_sides": [], "positions": True}):
        with pytest.raises(UserError, match="'pruned' gives 13 tokens that are not known to be patches"):
            list_tasks(outputs, LayerProbesParams(**given))
    [task] = list_tasks(outputs, LayerProbesParams(pooled_sides=[], attentive={}))
    assert task.n_positions == 13


def test_layers_of_entries_are_checked_before_anything_runs(features):
    def found(**given):
        return list(
            find_layers_without_probe(
                LayerProbesParams(**given), features, TrainingParams(stimulus_set="bars")
            )
        )

    assert found(models=["vit", "registers"]) == []
    [why] = found(models=["vit"], layers=["blocks.9"])
    assert why.startswith("network 'vit': unknown layer 'blocks.9'; did you mean")
    [why] = found(
        models=["vit"], by_network={"vit": {"layers": ["blocks.0.attn.q_norm", "head"], "attentive": {}}}
    )
    assert "network 'vit': " in why
