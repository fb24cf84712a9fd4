"""Networks' predictions compared: against counts by hand, and where a number does not exist."""

import numpy as np
import pandas as pd
import pytest
from tests.reference import functional as reference
from tests.small_collections import ARROW, make_subset, run_plan, store

from rep_kedro.analyses.predictions import agreement
from rep_kedro.datasets import Planned, Tensors
from rep_kedro.schemas.probing import PREDICTION_AGREEMENT

CLASSES = [2, 5, 9]
LABELS = [2, 5, 9, 5, 2, 9, 9, 5, 2, 2, 5]
MODELS = ("ape", "bee", "cat")
CARDS = pd.DataFrame(
    {"model": MODELS, "objective": ["supervised", "simclr", "simclr"], "architecture": ["cnn", "vit", "cnn"]}
)


def _draw_probabilities(seed):
    rng = np.random.default_rng(seed)
    sharp = rng.dirichlet([0.5] * len(CLASSES), size=len(LABELS))
    truth = np.eye(len(CLASSES))[[CLASSES.index(label) for label in LABELS]]
    return 0.6 * sharp + 0.4 * truth


def _make_probes(tmp_path, members, labels=LABELS):
    """Store final probes with given probabilities; `None` for those that did not keep them."""
    subset = make_subset([1, None, *labels], ["train", "test", *["test"] * len(labels)])
    subsets = store(tmp_path / "subsets", {"digits/analysis": subset}, ARROW)
    recipe = {"stimulus_subset": subsets["digits/analysis"].reference}
    plan = {}
    for model, (predictions, probabilities) in members.items():
        tensors = {"early/predictions": np.zeros(len(labels), np.int32)}
        tensors["late/predictions"] = np.asarray(predictions, np.int32)
        if probabilities is not None:
            tensors["late/probabilities"] = probabilities.astype(np.float16)
        rows = [{"layer": "early", "is_final": False}, {"layer": "late", "is_final": True}]
        value = Tensors(tensors, {"label": "label", "classes": CLASSES, "layers": rows})
        plan[f"digits/{model}"] = Planned({**recipe, "of": model}, lambda value=value: value)
    return run_plan(tmp_path / "probes", plan), subsets


@pytest.fixture
def probabilities():
    return {model: _draw_probabilities(seed) for seed, model in enumerate(MODELS)}


@pytest.fixture
def study(tmp_path, probabilities):
    members = {m: ([CLASSES[i] for i in p.argmax(axis=1)], p) for m, p in probabilities.items()}
    return _make_probes(tmp_path, members)


def test_every_pair_is_compared_once_as_by_hand(study, probabilities):
    table = agreement.compare_predictions(*study, CARDS)
    assert tuple(table.columns) == PREDICTION_AGREEMENT.names
    assert table[["model_a", "model_b"]].values.tolist() == [["ape", "bee"], ["ape", "cat"], ["bee", "cat"]]
    for trait in ("objective", "architecture"):
        of_model = CARDS.set_index("model")[trait]
        for side in "ab":
            assert table[f"{trait}_{side}"].tolist() == of_model.loc[table[f"model_{side}"]].tolist()
    assert (table["reason"] == "").all()
    picks = {m: [CLASSES[i] for i in p.argmax(axis=1)] for m, p in probabilities.items()}
    for row in table.to_dict("records"):
        a, b = picks[row["model_a"]], picks[row["model_b"]]
        assert row["n_test"] == len(LABELS)
        assert row["accuracy_a"] == pytest.approx(np.mean(np.array(a) == LABELS))
        assert row["accuracy_b"] == pytest.approx(np.mean(np.array(b) == LABELS))
        assert row["disagreement"] == pytest.approx(reference.disagreement(a, b))
        assert row["disagreement_low_bound"] <= row["disagreement"] <= row["disagreement_high_bound"]
        assert row["error_consistency"] == pytest.approx(reference.error_consistency(a, b, LABELS))
        divergence = reference.jensen_shannon(probabilities[row["model_a"]], probabilities[row["model_b"]])
        assert row["jensen_shannon"] == pytest.approx(divergence, abs=1e-4)
    assert table["disagreement"].between(0.05, 0.95).all()


def test_blocks_of_stimuli_change_nothing(study, monkeypatch):
    whole = agreement.compare_predictions(*study, CARDS)
    monkeypatch.setattr(agreement, "BLOCK_BYTES", 8 * len(MODELS) * len(CLASSES) * 4)
    pd.testing.assert_frame_equal(agreement.compare_predictions(*study, CARDS), whole, rtol=1e-12)


def test_networks_that_are_always_right_have_no_error_consistency(tmp_path, probabilities):
    wrong = [CLASSES[(CLASSES.index(label) + 1) % 3] for label in LABELS]
    members = {"ape": (LABELS, None), "bee": (LABELS, probabilities["bee"]), "cat": (wrong, None)}
    table = agreement.compare_predictions(*_make_probes(tmp_path, members), CARDS).set_index(
        ["model_a", "model_b"]
    )
    assert np.isnan(table.loc[("ape", "bee"), "error_consistency"])
    assert table.loc[("ape", "bee"), "reason"] == (
        "error consistency: both models are right on every stimulus, or wrong on every stimulus: agreement "
        "beyond chance is 0 / 0; no probabilities are stored for ape: set probing.keep_probabilities"
    )
    assert table.loc[("ape", "cat"), "error_consistency"] == 0.0
    assert table.loc[("ape", "cat"), "reason"].startswith("no probabilities are stored for ape and cat")
    assert table["jensen_shannon"].isna().all()
    bounds = ["disagreement_low_bound", "disagreement_high_bound"]
    assert table.loc[("ape", "bee"), bounds].tolist() == [0.0, 0.0]
    assert table.loc[("ape", "cat"), bounds].tolist() == [1.0, 1.0]


def test_copies_of_a_network_agree_on_everything(tmp_path, probabilities):
    p = probabilities["ape"]
    picks = [CLASSES[i] for i in p.argmax(axis=1)]
    members = {"ape": (picks, p), "bee": (picks, p)}
    [row] = agreement.compare_predictions(*_make_probes(tmp_path, members), CARDS).to_dict("records")
    assert (row["disagreement"], row["error_consistency"], row["jensen_shannon"]) == (0.0, 1.0, 0.0)


def test_one_network_or_none_has_no_pairs(tmp_path, probabilities):
    probes, subsets = _make_probes(tmp_path, {"ape": (LABELS, probabilities["ape"])})
    for found in (probes, {}):
        table = agreement.compare_predictions(found, subsets, CARDS)
        assert tuple(table.columns) == PREDICTION_AGREEMENT.names
        assert table.empty


def test_a_network_without_a_card_is_named(study):
    with pytest.raises(ValueError, match="networks without a model card: cat; run the features pipeline"):
        agreement.compare_predictions(*study, CARDS.iloc[:2])
