"""Attentive probes of maps and tokens of networks trained here: stored, in the table, refused."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.small_collections import ARROW, make_network, make_stimuli, run_plan, store, store_networks

from rep_kedro.analyses.probing.labels import Targets, draw_few
from rep_kedro.analyses.probing.params import ProbingParams
from rep_kedro.datasets import Tensors
from rep_kedro.errors import UserError
from rep_kedro.features.images import stream_inputs
from rep_kedro.features.params import FeaturesParams
from rep_kedro.kernels.probes.attentive import AttentiveWeights, compute_logits, standardise
from rep_kedro.kernels.probes.probe import Standardisation
from rep_kedro.models.families.library import TimmVariant
from rep_kedro.models.layers import LayerReader
from rep_kedro.models.trained import preprocessing_of, restore_trained_network
from rep_kedro.pipelines.probing.layer_nodes import plan_layer_probes, tabulate_layer_probe_results

N_TRAIN, N_TEST, N_CLASSES = 36, 24, 3
SPLITS = ["train"] * N_TRAIN + ["test"] * N_TEST
LABELS = [i % N_CLASSES for i in range(N_TRAIN + N_TEST)]
FIT = {"n_heads": 2, "learning_rates": [0.003, 0.03], "weight_decays": [0.0], "n_epochs": 3, "batch_size": 12}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    pixels = np.random.default_rng(0).integers(0, 100, size=(len(LABELS), 16, 16, 3), dtype=np.uint8)
    for image, label in zip(pixels, LABELS, strict=True):
        image[2:6, 4 * label : 4 * label + 4] += 100
    stimuli = make_stimuli(pixels, LABELS, SPLITS, class_names=["a", "b", "c"])
    vit = TimmVariant(name="test_vit", size_px=32, layers=("blocks.*",)).define()
    given = {"seed": 0, "n_classes": N_CLASSES, "stimulus_set": "bars"}
    tokens = make_network(vit, **given)
    networks = {
        "net": make_network("cnn", **given),
        "vit": Tensors(tokens.tensors, {**tokens.meta, "architecture": "vit"}),
    }
    return (
        store(folder / "sets", {"bars": stimuli}, ARROW),
        store(folder / "subsets", {"bars/analysis": stimuli.drop_columns(["image"])}, ARROW),
        store_networks(folder / "networks", networks),
    )


def _plan(study, model, *layers, probing=None, **params):
    wanted = {"models": [model], "layers": list(layers) or "kept", "pooled_sides": [], "attentive": FIT}
    return plan_layer_probes(
        *study, FeaturesParams(), ProbingParams(layer_probes=wanted | params, **probing or {})
    )


def _activation(study, model, layer):
    network = study[2][model]
    images = torch.cat(
        list(stream_inputs(study[0]["bars"], study[1]["bars/analysis"], preprocessing_of(network),
                           batch_size=100, device="cpu"))
    )  # fmt: skip
    return LayerReader(restore_trained_network(network), [layer], example=images[:1]).read(images)[layer]


@pytest.mark.parametrize(("model", "layer"), [("net", "conv2"), ("vit", "blocks.1")])
def test_a_stored_probe_reads_the_layers_positions_or_tokens(study, model, layer, tmp_path):
    plan = _plan(study, model, layer, probing={"keep_logits": True}, batch_size=25)
    [(key, handle)] = run_plan(tmp_path, plan).items()
    assert key == f"bars/{model}+{layer}+attentive"
    x = _activation(study, model, layer).half()
    tokens = x.flatten(2).mT if x.ndim == 4 else x
    stored = {name: torch.from_numpy(handle.tensor(name).copy()) for name in handle.names}
    standard = Standardisation(stored["mean"].double(), stored["scale"].double())
    output = torch.cat([stored["weight"], stored["bias"][None]])
    weights = AttentiveWeights(stored["queries"][None], output[None])
    logits = compute_logits(weights, standardise(tokens[N_TRAIN:], standard))[0]
    torch.testing.assert_close(stored["logits"], logits, rtol=1e-4, atol=1e-4)
    hits = logits.argmax(dim=1) == torch.tensor(LABELS[N_TRAIN:])
    [row] = tabulate_layer_probe_results({key: handle}).to_dict("records")
    assert row["test_accuracy"] == pytest.approx(hits.double().mean().item())
    assert row["readout"] == "attentive"
    assert (row["n_features"], row["height"] * row["width"]) == (tokens.shape[2], tokens.shape[1])
    assert row["learning_rate"] in FIT["learning_rates"]
    assert row["n_iterations"] == 9
    assert not row["converged"]
    assert 0 <= row["validation_accuracy"] <= 1


def test_chunks_and_repeats_give_the_same_bytes(study, tmp_path):
    found = [
        {
            key: (tmp_path / where / f"{key}.safetensors").read_bytes()
            for key in run_plan(tmp_path / where, _plan(study, "net", "conv1", "conv2", **limits))
        }
        for where, limits in (("memory", {}), ("disk", {"disk_bytes": 60 * 2 * 16 * 16 * 16}))
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 2


def test_few_shots_and_class_weights_apply(study, tmp_path):
    def probe(folder, **given):
        return run_plan(tmp_path / folder, _plan(study, "net", "conv2", probing=given))[
            "bars/net+conv2+attentive"
        ]

    plain, few = probe("all"), probe("few", few_shot=4)
    assert (plain.meta["n_train"], few.meta["n_train"]) == (N_TRAIN, 4 * N_CLASSES)
    x = _activation(study, "net", "conv2").flatten(2).mT
    labels = torch.tensor(LABELS)
    is_train = torch.arange(len(LABELS)) < N_TRAIN
    drawn = draw_few(Targets([0, 1, 2], labels, is_train, ~is_train), 4, 0)
    np.testing.assert_allclose(few.tensor("mean"), x[drawn].mean(dim=(0, 1)), rtol=1e-2, atol=1e-3)
    # all classes have as many stimuli: held out as many of each, weights of 1 change nothing
    fair = probe("fair", class_weights="balanced")
    np.testing.assert_allclose(fair.tensor("weight"), plain.tensor("weight"), rtol=1e-4, atol=1e-5)
    assert fair.recipe["class_weights"] == "balanced"


def test_class_weights_count_where_classes_are_rare(study, tmp_path):
    rare = [label if i % 9 == 2 or label != 2 else 0 for i, label in enumerate(LABELS)]
    subset = make_stimuli(
        np.zeros((len(LABELS), 16, 16, 3), np.uint8), rare, SPLITS, class_names=["a", "b", "c"]
    )
    subsets = store(tmp_path / "rare", {"bars/analysis": subset.drop_columns(["image"])}, ARROW)
    with_rare = (study[0], subsets, study[2])
    attentive = {**FIT, "n_epochs": 2, "learning_rates": [0.003]}
    found = [
        run_plan(tmp_path / kind, plan_layer_probes(*with_rare, FeaturesParams(), ProbingParams(
            class_weights=kind, keep_logits=True,
            layer_probes={"models": ["net"], "layers": ["conv2"], "pooled_sides": [], "attentive": attentive},
        )))["bars/net+conv2+attentive"].tensor("logits")
        for kind in ("none", "balanced")
    ]  # fmt: skip
    preference = [(logits[:, 2] - logits[:, 0]).mean() for logits in found]
    assert preference[1] > preference[0]


def test_the_recipe_has_what_counts(study):
    def recipe(**given):
        return next(iter(_plan(study, "net", "conv1", **given).values())).recipe

    assert recipe() == recipe(tolerance=0.1, memory_bytes=2**30)
    for probing in (
        *({"seed": 1}, {"held_out_fraction": 0.3}, {"keep_logits": True}),
        *({"few_shot": 3}, {"class_weights": "balanced"}),
    ):
        assert recipe() != recipe(probing=probing)
    assert recipe() != recipe(attentive={**FIT, "n_heads": 1})
    pooled = plan_layer_probes(
        *study, FeaturesParams(), ProbingParams(seed=1, layer_probes={"models": ["net"], "layers": ["conv1"]})
    )
    assert "seed" not in next(iter(pooled.values())).recipe
    pooled = plan_layer_probes(
        *study,
        FeaturesParams(),
        ProbingParams(few_shot=3, layer_probes={"models": ["net"], "layers": ["conv1"]}),
    )
    assert next(iter(pooled.values())).recipe["few_shot"] == 3
    with pytest.raises(UserError, match=r"few_shot is 13, but class 0 of bars/analysis has 12 training"):
        plan_layer_probes(
            *study, FeaturesParams(), ProbingParams(few_shot=13, layer_probes={"models": ["net"]})
        )


@pytest.mark.parametrize(
    ("model", "layers", "params", "message"),
    [
        ("net", ["conv1", "mean"], {}, r"'mean' has no positions or tokens.*\(attentive\): conv1 have some"),
        ("vit", ["blocks.0", "head"], {}, "'head' has no positions or tokens"),
        ("vit", ["blocks.7"], {}, "unknown layer 'blocks.7'"),
        ("net", ["conv1"], {"memory_bytes": 10_000}, "raise probing.layer_probes.memory_bytes"),
    ],
)
def test_what_cannot_be_attended_to_is_refused_while_planning(study, model, layers, params, message):
    with pytest.raises(UserError, match=message):
        _plan(study, model, *layers, **params)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fit": {"solver": "attentive"}}, "set probing.layer_probes.attentive"),
        ({"layer_probes": {"attentive": {"n_head": 2}}}, "n_head"),
        ({"layer_probes": {"attentive": {"n_heads": 2000}}}, "less than or equal to 1024"),
        ({"layer_probes": {"attentive": {"n_epochs": 10**9}}}, "less than or equal to 100000"),
        ({"fit": {"solver": "mlp", "n_hidden": 10**6}}, "less than or equal to 65536"),
        ({"layer_probes": {"attentive": {}}, "held_out_fraction": 0, "fit": {"solver": "prototype"}},
         "layer_probes.attentive a single one"),
        ({"layer_probes": {"models": ["net"], "attentive": {}}, "class_weights": "balanced"},
         "balanced has no effect on layer_probes.pooled_sides and positions"),
    ],
)  # fmt: skip
def test_wrong_parameters_are_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        ProbingParams(**given)
