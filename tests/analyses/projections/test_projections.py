"""Projections of networks: the results of whole passes, for networks of any source."""

import json
import logging

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.reference import projection as reference
from tests.small_collections import ARROW, make_network, make_stimuli, make_subset, run_plan, store
from torch import nn

from rep_kedro.analyses.diagnostics.params import DiagnosticsParams
from rep_kedro.analyses.projections.directions import find_directions
from rep_kedro.analyses.projections.evaluation import Evaluation
from rep_kedro.analyses.projections.params import ProjectionParams
from rep_kedro.datasets import Planned
from rep_kedro.errors import UserError
from rep_kedro.features.params import FeaturesParams
from rep_kedro.kernels.statistics.paired_shares import bound_ratio
from rep_kedro.models.preprocessing import Preprocessing
from rep_kedro.models.sources.loaded import LoadedModel
from rep_kedro.models.trained import preprocessing_of, restore_trained_network
from rep_kedro.pipelines.diagnostics.projections import plan_projections, tabulate_projection_results

NAME, KEY = "small_resnet_supervised_s0", "noise/small_resnet_supervised_s0"
LABELS = [0, 1, 2] * 10
SPLITS = ["train"] * 18 + ["test"] * 12
PIXELS = np.random.default_rng(0).integers(0, 256, size=(len(LABELS), 16, 16, 3), dtype=np.uint8)
PLAIN = Preprocessing(size_px=16, resize_px=16, mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    network = make_network("small_resnet", seed=0, n_classes=3, stimulus_set="noise")
    headless = make_network("cnn", seed=0, n_classes=None, stimulus_set="noise")
    networks = store(folder / "networks", {NAME: network, "headless": headless})
    sets = store(folder / "sets", {"noise": make_stimuli(PIXELS, LABELS, SPLITS, ["a", "b", "c"])}, ARROW)
    subset = make_subset(LABELS, SPLITS).take(list(range(4, 26)))
    return sets, store(folder / "subsets", {"noise/few": subset}, ARROW), networks


def _params(**projections):
    return DiagnosticsParams(projections=projections)


def _features(**models):
    return FeaturesParams(models=models)


def _rows(tmp_path, study, features=None, **projections):
    plan = plan_projections(*study, features or _features(), _params(**projections))
    return tabulate_projection_results(run_plan(tmp_path, plan))


def _project_everywhere(module, images, kept):
    """Return logits by whole passes, each sample of each layer projected by the formula."""
    handles = []
    for layer, (directions, n) in kept.items():
        columns, origin = directions.vectors.T[:n].tolist(), directions.origin.tolist()

        def project(_, __, output, columns=columns, origin=origin):
            moved = output.movedim(1, -1) if output.ndim == 4 else output
            rows = [
                reference.project(row, columns, origin) for row in moved.reshape(-1, moved.shape[-1]).tolist()
            ]
            projected = torch.tensor(rows).reshape(moved.shape)
            return projected.movedim(-1, 1) if output.ndim == 4 else projected

        handles.append(module.get_submodule(layer).register_forward_hook(project))
    with torch.no_grad():
        logits = module(images)
    for handle in handles:
        handle.remove()
    return logits


@pytest.mark.parametrize("centred", [True, False])
def test_results_are_those_of_whole_passes(study, tmp_path, centred):
    handle = study[2][NAME]
    module, scale = restore_trained_network(handle), preprocessing_of(handle).scale
    images = scale(torch.from_numpy(PIXELS.transpose(0, 3, 1, 2).copy()))
    layers = [n for n, p in module.named_modules() if isinstance(p, nn.Conv2d)][1:4:2]
    table = _rows(
        tmp_path,
        study,
        models=[NAME],
        layers=layers,
        centred=centred,
        deltas=[0.6],
        rules=["reach", "delve"],
        batch_size=5,
    )
    assert len(table) == (len(layers) + 1) * 2 * 2
    params = ProjectionParams(centred=centred)
    found = find_directions(LoadedModel(module, PLAIN, ()), layers, [images[:18]], params)
    labels = torch.tensor(LABELS[18:])
    for row in table.itertuples():
        chosen = layers if row.layer == "*" else [row.layer]
        counts = {layer: found[layer].count(row.delta, row.rule) for layer in chosen}
        kept = {layer: (found[layer].by_kind[row.directions], counts[layer]) for layer in chosen}
        logits = _project_everywhere(module, images[18:], kept)
        assert row.dimension == sum(counts.values())
        right, before = logits.argmax(dim=1) == labels, module(images[18:]).argmax(dim=1) == labels
        n_both = int((right & before).sum())
        assert row.accuracy == right.double().mean().item()
        assert row.n_both_right == n_both
        ends = bound_ratio(n_both, int(right.sum()) - n_both, int(before.sum()) - n_both)
        assert (row.relative_low, row.relative_high) == pytest.approx(ends)
        assert row.loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-4)
        assert row.relative_accuracy == row.accuracy / row.original_accuracy
        assert (row.n_fit, row.n_test, row.is_centred) == (18, 12, centred)


def test_all_directions_are_the_network_itself(study, tmp_path):
    table = _rows(tmp_path, study, models=[NAME], deltas=[1.0], layers=["**"])
    whole = table[table["dimension"] == table["n_channels"]]
    assert len(whole)
    assert (whole["accuracy"] == whole["original_accuracy"]).all()
    assert (whole["loss"] == whole["original_loss"]).all()
    assert set(table["layer"]) >= {"*"}
    assert "head" not in set(table["layer"])


def test_a_subset_and_fewer_stimuli_are_used(study, tmp_path):
    table = _rows(tmp_path, study, models=[NAME], subset="few", n_fit=9, layers=["*1"], deltas=[0.9])
    assert set(table["n_fit"]) == {9}
    assert set(table["n_test"]) == {8}


def test_networks_of_torchvision_are_projected(study, tmp_path):
    entry = {
        "source": "torchvision",
        "name": "resnet18",
        "weights": None,
        "n_classes": 3,
        "layers": ["layer4"],
    }
    table = _rows(
        tmp_path,
        study,
        _features(resnet=entry),
        models=["resnet"],
        stimulus_sets=["noise"],
        layers=["layer4.1.conv*"],
        deltas=[0.9],
        n_fit=3,
        n_test=3,
    )
    assert set(table["layer"]) == {"layer4.1.conv1", "layer4.1.conv2", "*"}
    assert table["accuracy"].notna().all()


def test_a_constant_layer_has_a_reason():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4, 3)).eval()
    nn.init.zeros_(module[0].weight)
    model, images = LoadedModel(module, PLAIN, ()), torch.randn(6, 3, 1, 1)
    params = ProjectionParams(deltas=[0.9])
    evaluation = Evaluation(model, find_directions(model, ["0"], [images], params), 3, params)
    evaluation.add(images, torch.tensor([0, 1, 2] * 2))
    assert {row["reason"] for row in evaluation.rows()} == {"0: the layer does not vary"}
    assert all(row["accuracy"] is None for row in evaluation.rows())


def test_what_is_computed_once_is_counted_once():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)).eval()
    model, images = LoadedModel(module, PLAIN, ()), torch.randn(6, 3, 2, 2)
    calls = []
    module[3].register_forward_hook(lambda *_: calls.append(1))
    params = ProjectionParams(deltas=[0.01, 0.02, 0.03, 1.0], scopes=["each"], directions=["leading"])
    evaluation = Evaluation(model, find_directions(model, ["0"], [images], params), 3, params)
    calls.clear()
    evaluation.add(images, torch.zeros(6, dtype=torch.int64))
    assert len(calls) == 2  # the network itself, and one direction


@pytest.mark.parametrize(
    ("projections", "message"),
    [
        (
            {"models": ["small_resne_supervised_s0"]},
            "unknown network 'small_resne_supervised_s0'; did you mean",
        ),
        ({"models": ["headless"]}, "network 'headless' has no head to read out"),
        ({"models": [NAME], "stimulus_sets": ["nois"]}, "unknown stimulus set 'nois'; did you mean 'noise'"),
        (
            {"models": [NAME], "subset": "fwe"},
            "unknown stimulus subset 'noise/fwe'; did you mean 'noise/few'",
        ),
    ],
)
def test_wrong_names_are_refused_before_anything_runs(study, projections, message):
    with pytest.raises(ValueError, match=message):
        plan_projections(*study, _features(), _params(**projections))


@pytest.mark.parametrize(
    ("projections", "message"),
    [
        ({"layers": ["conv9"]}, "conv9"),
        ({"memory_bytes": 10}, r"takes [\d,]+ bytes, and projections.memory_bytes is 10; raise it"),
    ],
)
def test_wrong_layers_and_memory_fail_that_network(study, tmp_path, caplog, projections, message):
    with caplog.at_level(logging.ERROR), pytest.raises(Exception, match=message):
        _rows(tmp_path, study, models=[NAME], **projections)


def test_a_head_of_other_classes_is_refused():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4, 5)).eval()
    model, images = LoadedModel(module, PLAIN, ()), torch.randn(6, 3, 1, 1)
    params = ProjectionParams()
    evaluation = Evaluation(model, find_directions(model, ["0"], [images], params), 3, params)
    with pytest.raises(ValueError, match=r"shape \(6, 5\) for 6 stimuli of 3 classes"):
        evaluation.add(images, torch.zeros(6, dtype=torch.int64))


def test_networks_of_a_further_label_are_evaluated_on_that_label(study, tmp_path):
    table = make_stimuli(PIXELS, LABELS, SPLITS, ["a", "b", "c"])
    names = {"kind": ["a", "b", "c"], "breed": ["x", "y", "z"]}
    meta = json.loads(table.schema.metadata[b"meta"])
    meta |= {"own_label": "kind", "label_columns": names, "multi_label_columns": {"tags": ["x"]}}
    breeds = [(label + 1) % 3 for label in LABELS]
    table = table.append_column("label:breed", pa.array(breeds, pa.int32()))
    sets = store(
        tmp_path / "sets", {"noise": table.replace_schema_metadata({b"meta": json.dumps(meta)})}, ARROW
    )
    network = make_network("small_resnet", seed=0, n_classes=3, stimulus_set="noise")
    networks = run_plan(
        tmp_path / "networks",
        {label: Planned({"labels": label}, lambda: network) for label in ("breed", "tags")},
    )
    plan = plan_projections(sets, {}, networks, _features(), _params(models=["breed"], layers=["*conv1"]))
    found = tabulate_projection_results(run_plan(tmp_path / "found", plan))
    renamed = {"noise": make_stimuli(PIXELS, breeds, SPLITS, ["x", "y", "z"])}
    same = store(tmp_path / "same", renamed, ARROW), {}, study[2]
    expected = _rows(tmp_path / "expected", same, models=[NAME], layers=["*conv1"])
    assert found["original_accuracy"].tolist() == expected["original_accuracy"].tolist()
    assert found["accuracy"].tolist() == expected["accuracy"].tolist()
    with pytest.raises(UserError, match=r"network 'tags' predicts several labels of an image \('tags'\)"):
        plan_projections(sets, {}, networks, _features(), _params(models=["tags"]))


def test_nothing_is_planned_by_default(study):
    assert not plan_projections(*study, _features(), DiagnosticsParams())
    assert not len(tabulate_projection_results({}))
