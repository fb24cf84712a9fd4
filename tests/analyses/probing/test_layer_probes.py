"""Probes of maps of a tiny network: pooled, position by position, in chunks, and in the table."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from tests.small_collections import ARROW, make_network, make_stimuli, run_plan, store, store_networks

from rep_kedro.analyses.probing.layer_params import LayerProbesParams
from rep_kedro.analyses.probing.layer_tasks import POSITIONS, Output, list_tasks, pack, predict
from rep_kedro.analyses.probing.params import ProbingParams
from rep_kedro.datasets import CollectionDataset
from rep_kedro.datasets.partial import Handles
from rep_kedro.errors import UserError
from rep_kedro.features.images import stream_inputs
from rep_kedro.features.params import FeaturesParams
from rep_kedro.models.layers import LayerReader
from rep_kedro.models.trained import preprocessing_of, restore_trained_network
from rep_kedro.pipelines.probing.layer_nodes import plan_layer_probes, tabulate_layer_probe_results

N_TRAIN, N_TEST, N_CLASSES = 36, 24, 3
SPLITS = ["train"] * N_TRAIN + ["test"] * N_TEST
LABELS = [i % N_CLASSES for i in range(N_TRAIN + N_TEST)]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 100, size=(len(LABELS), 16, 16, 3), dtype=np.uint8)
    for image, label in zip(pixels, LABELS, strict=True):
        image[2:6, 4 * label : 4 * label + 4] += 100  # what tells the classes is at one place
    stimuli = make_stimuli(pixels, LABELS, SPLITS, class_names=["a", "b", "c"])
    network = make_network("cnn", seed=0, n_classes=N_CLASSES, stimulus_set="bars")
    return (
        store(folder / "sets", {"bars": stimuli}, ARROW),
        store(folder / "subsets", {"bars/analysis": stimuli.drop_columns(["image"])}, ARROW),
        store_networks(folder / "networks", {"net": network}),
    )


def _plan(study, **params):
    given = {"models": ["net"], "pooled_sides": [1, 3], "positions": True, "batch_size": 25}
    return plan_layer_probes(*study, FeaturesParams(), ProbingParams(layer_probes=given | params))


@pytest.fixture(scope="module")
def probes(study, tmp_path_factory):
    return run_plan(tmp_path_factory.mktemp("probes"), _plan(study))


def test_few_stimuli_of_each_class_train_pooled_probes(study, tmp_path):
    wanted = {"models": ["net"], "layers": ["conv1"], "pooled_sides": [2]}
    plan = plan_layer_probes(*study, FeaturesParams(), ProbingParams(few_shot=2, layer_probes=wanted))
    [row] = tabulate_layer_probe_results(run_plan(tmp_path, plan)).to_dict("records")
    assert (row["n_train"], row["train_accuracy"]) == (2 * N_CLASSES, 1)


@pytest.fixture(scope="module")
def activations(study):
    network = study[2]["net"]
    images = torch.cat(
        list(stream_inputs(study[0]["bars"], study[1]["bars/analysis"], preprocessing_of(network),
                           batch_size=100, device="cpu"))
    )  # fmt: skip
    module = restore_trained_network(network)
    reader = LayerReader(module, list(module.kept_layers), example=images[:1])
    return reader.read(images)


def _accuracies(x):
    x, labels = x.half().float().numpy(), np.array(LABELS)
    theirs = LogisticRegression(tol=1e-4, max_iter=100).fit(x[:N_TRAIN], labels[:N_TRAIN])
    return theirs.score(x[:N_TRAIN], labels[:N_TRAIN]), theirs.score(x[N_TRAIN:], labels[N_TRAIN:])


def test_each_map_has_probes_as_scikit_learn_fits_them(probes, activations):
    table = tabulate_layer_probe_results(probes)
    in_order = table.drop_duplicates("layer").sort_values("depth")["layer"]
    assert in_order.tolist() == list(activations)
    maps = {name: values for name, values in activations.items() if values.ndim == 4}
    assert maps
    for layer, values in activations.items():
        rows = table[table["layer"] == layer].set_index("readout")
        for side in (1, 3):
            sides = [min(side, each) for each in values.shape[2:]]
            pooled = values if values.ndim == 2 else torch.nn.functional.adaptive_avg_pool2d(values, sides)
            row = rows.loc[f"{side}x{side}"]
            found = (row["train_accuracy"], row["test_accuracy"])
            assert found == pytest.approx(_accuracies(pooled.flatten(1)), abs=1.5 / N_TEST)
            assert row["n_features"] == pooled[0].numel()
            assert [row["height"], row["width"]] == (sides or [1, 1])
        assert len(rows) == 2 + (values[0, 0].numel() if values.ndim == 4 else 0)
    layer, values = next(iter(maps.items()))
    rows = table[(table["layer"] == layer) & table["row"].notna()]
    found = rows.set_index(["row", "column"])["test_accuracy"]
    for i, j in ((0, 0), (2, 1), (3, 3)):
        assert found[i, j] == pytest.approx(_accuracies(values[:, :, i, j])[1], abs=1.5 / N_TEST)
    assert found.max() > found.min() + 0.3  # the classes are at one place
    assert table["converged"].any()
    assert set(table["n_train"]) == {N_TRAIN}


@pytest.mark.parametrize("limits", [{"memory_bytes": 60 * 4 * 1200}, {"disk_bytes": 60 * 2 * 1200}])
def test_chunks_in_memory_or_on_disk_change_nothing(study, probes, limits, tmp_path, monkeypatch):
    passes = []
    stream = stream_inputs
    monkeypatch.setattr(
        "rep_kedro.features.images.stream_inputs", lambda *a, **k: passes.append(1) or stream(*a, **k)
    )
    plan = _plan(study, **limits)
    again = run_plan(tmp_path / "again", plan)
    n_passes = int(plan.notes[0].split(" probes in ")[1].split()[0].replace(",", ""))
    assert len(passes) == n_passes > 2
    assert set(again) == set(probes)
    for key, handle in probes.items():
        for name in handle.names:
            np.testing.assert_array_equal(again[key].tensor(name), handle.tensor(name))


def test_what_was_kept_is_not_fitted_again(study, tmp_path, monkeypatch):
    plan = _plan(study, layers=["conv1"], pooled_sides=[1, 2], positions=False)
    collection = CollectionDataset(
        filepath=str(tmp_path / "probes"), member="rep_kedro.datasets.TensorsDataset"
    )
    collection.save(plan)
    lost = next(iter(plan))
    (tmp_path / "probes" / f"{lost}.safetensors").unlink()
    fitted = []
    from rep_kedro.analyses.probing import layer_probes

    fit = layer_probes.fit_logistic
    monkeypatch.setattr(layer_probes, "fit_logistic", lambda *a, **k: fitted.append(1) or fit(*a, **k))
    collection.save(_plan(study, layers=["conv1"], pooled_sides=[1, 2], positions=False))
    assert len(fitted) == 1


def test_nothing_is_probed_by_default(study):
    assert dict(plan_layer_probes(*study, FeaturesParams(), ProbingParams())) == {}
    assert len(tabulate_layer_probe_results({})) == 0


def test_tasks_fill_chunks_up_to_the_limit_and_lose_no_position():
    outputs = {"a": Output(8, (5, 6)), "b": Output(4, (2, 2)), "c": Output(7, ())}
    params = LayerProbesParams(pooled_sides=[4], positions=True, memory_bytes=4 * 10 * 8 * 16)
    tasks = list_tasks(outputs, params)
    assert [(t.layer, t.readout, t.height, t.width, t.n_features) for t in tasks] == [
        ("a", "4x4", 4, 4, 128),
        ("a", POSITIONS, 5, 6, 8),
        ("b", "4x4", 2, 2, 16),
        ("b", POSITIONS, 2, 2, 4),
        ("c", "4x4", 1, 1, 7),
    ]
    chunks = list(pack(tasks, n_stimuli=10, params=params))
    for chunk in chunks:
        assert sum(2 * 10 * task.n_numbers for task in chunk) <= params.memory_bytes
    seen = [i for c in chunks for t in c if (t.layer, t.readout) == ("a", POSITIONS)
            for i in range(t.first, t.first + t.n_positions)]  # fmt: skip
    assert seen == list(range(30))
    assert sum(t.readout == "4x4" for c in chunks for t in c) == 3
    shown = predict(outputs, n_stimuli=10, input_px=8, params=params)
    assert shown.startswith(f"37 probes in {len(chunks)} passes of 10 images, memory ")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"models": ["nett"]}, "'nett'.*did you mean 'net'"),
        ({"stimulus_sets": ["barz"]}, "'barz'.*did you mean 'bars'"),
        ({"layers": ["conv9"]}, "layer of net.*'conv9'"),
        (
            {"memory_bytes": 1000},
            r"layer '.*' has .* features of 60 stimuli.*raise probing.layer_probes.memory",
        ),
        ({"disk_bytes": 1000}, "raise probing.layer_probes.disk_bytes"),
    ],
)
def test_what_cannot_be_probed_is_refused_while_planning(study, params, message):
    with pytest.raises(UserError, match=message):
        _plan(study, **params)


@pytest.mark.parametrize("wanted", ["all", ["bars"]])
@pytest.mark.parametrize("lost", ["stimulus_sets/bars", "stimulus_subsets/bars/analysis"])
def test_missing_images_leave_out_what_would_be_probed_on_them(study, wanted, lost):
    sets, subsets, networks = study
    key = lost.partition("/")[2]
    if key == "bars":
        sets = Handles({}, {key: "damaged"}, {})
    subsets = Handles({}, {"bars/analysis": "damaged"}, {})
    plan = _plan((sets, subsets, networks), stimulus_sets=wanted)
    assert (dict(plan), plan.left_out) == ({}, {"bars/net": f"{lost} is missing"})


def test_sets_that_cannot_be_probed_are_named_in_the_log_and_refused_where_they_are_asked_for(study, caplog):
    given = {"models": ["net"], "stimulus_sets": "all"}
    params = ProbingParams(min_classes=4, layer_probes=given)
    assert not plan_layer_probes(*study, FeaturesParams(), params)
    why = "3 classes in its training split, need 4"
    assert f"no probes of maps on stimulus set bars: {why}" in caplog.text
    params = ProbingParams(min_classes=4, layer_probes=given | {"stimulus_sets": ["bars"]})
    with pytest.raises(UserError, match=f"probing.layer_probes: stimulus set 'bars' cannot be probed: {why}"):
        plan_layer_probes(*study, FeaturesParams(), params)


def test_nothing_to_probe_is_refused():
    with pytest.raises(ValidationError, match="name pooled_sides"):
        LayerProbesParams(pooled_sides=[])


def test_activations_beyond_float16_name_the_layer(study, tmp_path):
    network = study[2]["net"]
    state = {
        name: network.tensor(name) * (1e6 if name.startswith("conv1") else 1.0) for name in network.names
    }
    from rep_kedro.datasets import Tensors

    large = store_networks(tmp_path / "large", {"net": Tensors(state, dict(network.meta))})
    with pytest.raises(Exception, match=r"layer 'conv1'.*set probing.layer_probes.precision to float32"):
        run_plan(tmp_path / "probes", _plan((*study[:2], large), layers=["conv1"]))
