"""The probing pipeline on two small sets: what is planned, what is fitted, what is left out."""

import json
import logging

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from safetensors.numpy import load
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from tests.small_collections import ARROW, make_features, make_subset, run_plan, store

from rep_kedro.analyses.probing.final_predictions import read_final_predictions
from rep_kedro.analyses.probing.params import ProbingParams
from rep_kedro.analyses.selection import result_tree
from rep_kedro.datasets import Planned
from rep_kedro.errors import UserError
from rep_kedro.features.chain import apply_steps, unpack_steps
from rep_kedro.kernels.probes.probe import draw_held_out
from rep_kedro.pipelines.probing.nodes import plan_probes, tabulate_probe_results
from rep_kedro.schemas.probing import PROBE_RESULTS

N_TRAIN, N_TEST = 60, 30
SPLITS = ["train"] * N_TRAIN + ["test"] * N_TEST
LABELS = [3 + 2 * (i % 3) for i in range(N_TRAIN + N_TEST)]  # classes 3, 5 and 7


def _draw_layers(seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, 8))[[(label - 3) // 2 for label in LABELS]]
    noise = rng.normal(size=(len(LABELS), 8))
    return {
        "blurred": 100.0 + centres + 2.0 * noise,
        "narrow": (centres + noise)[:, :4],
        "clear": 1e-3 * (3.0 * centres + 0.1 * noise),
    }


@pytest.fixture
def study(tmp_path):
    features = {
        "letters/net_a": make_features(_draw_layers(0)),
        "letters/net_b": make_features(_draw_layers(1)),
        "clouds/net_a": make_features(_draw_layers(2)),
    }
    subsets = {
        "letters/analysis": make_subset(LABELS, SPLITS),
        "clouds/analysis": make_subset([None] * len(LABELS), SPLITS),
    }
    return store(tmp_path / "features", features), store(tmp_path / "stimulus_subsets", subsets, ARROW)


def _probe(tmp_path, study, **params):
    return run_plan(tmp_path / "probes", plan_probes(*study, ProbingParams(**params)))


def test_every_layer_of_every_network_gets_a_row(tmp_path, study):
    table = tabulate_probe_results(_probe(tmp_path, study))
    assert list(table.columns) == list(PROBE_RESULTS.names)
    assert table[["stimulus_set", "model", "layer", "depth", "is_final"]].values.tolist() == [
        ["letters", model, layer, depth, layer == "clear"]
        for model in ("net_a", "net_b")
        for depth, layer in enumerate(("blurred", "narrow", "clear"))
    ]
    assert set(table["n_train"]) == {N_TRAIN}
    assert set(table["n_test"]) == {N_TEST}
    assert set(table["n_classes"]) == {3}
    assert table["learning_rate"].isna().all()
    assert (table.loc[table["layer"] == "clear", "test_accuracy"] == 1.0).all()
    assert table.loc[table["layer"] == "blurred", "test_accuracy"].max() < 1.0


def test_a_probe_is_scikit_learns_on_training_statistics_alone(tmp_path, study):
    decay = 0.05
    fit = {"solver": "lbfgs", "weight_decays": [decay], "tolerance": 1e-8}
    handle = _probe(tmp_path, study, fit=fit)["letters/net_a"]
    x = _draw_layers(0)["blurred"].astype(np.float32).astype(np.float64)
    scaler = StandardScaler().fit(x[:N_TRAIN])
    theirs = LogisticRegression(C=1.0 / (N_TRAIN * decay), tol=1e-10, max_iter=2000)
    theirs.fit(scaler.transform(x[:N_TRAIN]), LABELS[:N_TRAIN])
    logits = x[N_TRAIN:] @ handle.tensor("blurred/weight") + handle.tensor("blurred/bias")
    expected = theirs.decision_function(scaler.transform(x[N_TRAIN:]))
    centred = [values - values.mean(axis=1, keepdims=True) for values in (logits, expected)]
    np.testing.assert_allclose(*centred, rtol=0, atol=1e-4)
    predictions = handle.tensor("blurred/predictions")
    assert predictions.tolist() == theirs.predict(scaler.transform(x[N_TRAIN:])).tolist()
    row = handle.meta["layers"][0]
    assert row["test_accuracy"] == np.mean(predictions == np.array(LABELS[N_TRAIN:]))
    assert row["weight_decay"] == decay
    assert row["convergence"] == "converged"


def test_the_final_layer_keeps_the_probabilities_of_its_test_stimuli(tmp_path, study):
    handle = _probe(tmp_path, study, stimulus_sets=["letters"])["letters/net_a"]
    assert [name for name in handle.names if name.endswith("/probabilities")] == ["clear/probabilities"]
    stored = handle.tensor("clear/probabilities")
    assert stored.dtype == np.float16
    logits = _draw_layers(0)["clear"][N_TRAIN:].astype(np.float32) @ handle.tensor("clear/weight")
    expected = softmax((logits + handle.tensor("clear/bias")).astype(np.float64), axis=1)
    np.testing.assert_allclose(stored, expected, rtol=1e-3, atol=1e-4)
    assert handle.meta["classes"] == [3, 5, 7]
    assert handle.tensor("clear/predictions").tolist() == [[3, 5, 7][i] for i in stored.argmax(axis=1)]


def test_probabilities_that_are_not_wanted_are_not_stored(tmp_path, study):
    handle = _probe(tmp_path, study, keep_probabilities=False)["letters/net_a"]
    assert not [name for name in handle.names if "probabilities" in name or "logits" in name]
    [found] = read_final_predictions({handle.key: handle}, study[1])
    assert found.probabilities == {}


def test_the_final_layer_keeps_the_logits_of_its_test_stimuli_where_they_are_wanted(tmp_path, study):
    handle = _probe(tmp_path, study, stimulus_sets=["letters"], keep_logits=True)["letters/net_a"]
    assert [name for name in handle.names if name.endswith("/logits")] == ["clear/logits"]
    stored = handle.tensor("clear/logits")
    assert stored.dtype == np.float32
    features = _draw_layers(0)["clear"][N_TRAIN:].astype(np.float32)
    expected = features @ handle.tensor("clear/weight") + handle.tensor("clear/bias")
    np.testing.assert_allclose(stored, expected, rtol=1e-4, atol=1e-4)
    files = dict(result_tree._finetuned("here", handle))
    shown = load(files["here/LOGITS.safetensors"])
    np.testing.assert_array_equal(shown["logits"], stored)
    np.testing.assert_array_equal(shown["predictions"], handle.tensor("clear/predictions"))
    assert load(files["here/FINETUNED_MODEL/model.safetensors"]).keys() == {"weight", "bias"}


def test_final_predictions_lie_side_by_side_with_the_labels(tmp_path, study):
    probes = _probe(tmp_path, study)
    [found] = read_final_predictions(probes, study[1])
    assert (found.stimulus_set, found.models, found.classes) == ("letters", ("net_a", "net_b"), (3, 5, 7))
    assert found.labels.tolist() == LABELS[N_TRAIN:]
    for model, predictions in zip(found.models, found.predictions, strict=True):
        row = probes[f"letters/{model}"].meta["layers"][-1]
        assert (predictions == found.labels).double().mean().item() == row["test_accuracy"]
        assert found.probabilities[model].sum(dim=1).tolist() == pytest.approx([1.0] * N_TEST, abs=1e-12)


def test_final_predictions_of_another_subset_are_refused(tmp_path, study):
    probes = _probe(tmp_path, study)
    later = make_subset(LABELS[::-1], SPLITS)
    plan = {"letters/analysis": Planned({"of": "later"}, lambda: later)}
    message = "letters/net_a used stimulus subset letters/analysis, which no longer exists"
    for subsets in ({}, run_plan(tmp_path / "later", plan, ARROW)):
        with pytest.raises(ValueError, match=message):
            list(read_final_predictions(probes, subsets))


def test_networks_probed_on_different_subsets_are_not_put_side_by_side(tmp_path, study):
    features, subsets = study
    other = store(tmp_path / "other", {"letters/other": make_subset(LABELS, SPLITS)}, ARROW)
    every = {**subsets, **other}
    one = run_plan(tmp_path / "one", plan_probes(features, every, ProbingParams(models=["net_a"])))
    params = ProbingParams(models=["net_b"], stimulus_sets=["letters"], subset="other")
    two = run_plan(tmp_path / "two", plan_probes(features, every, params))
    with pytest.raises(ValueError, match="net_a on letters/analysis, net_b on letters/other"):
        list(read_final_predictions({**one, **two}, every))


def test_settings_are_chosen_without_the_test_split(tmp_path, study):
    features, subsets = study
    shuffled = make_subset(LABELS[:N_TRAIN] + LABELS[N_TRAIN:][::-1], SPLITS)
    other = dict(subsets, **store(tmp_path / "others", {"letters/analysis": shuffled}, ARROW))
    rows = []
    for name, some in (("one", subsets), ("two", other)):
        plan = plan_probes(features, some, ProbingParams())
        handle = run_plan(tmp_path / name, plan)["letters/net_a"]
        rows.append([(row["weight_decay"], row["train_accuracy"]) for row in handle.meta["layers"]])
    assert rows[0] == rows[1]


def test_layers_have_an_accuracy_on_held_out_training_stimuli_and_an_interval_on_test_stimuli(
    tmp_path, study
):
    fit = {"solver": "lbfgs", "weight_decays": [0.05], "tolerance": 1e-8}
    params = ProbingParams(fit=fit)
    table = tabulate_probe_results(_probe(tmp_path, study, fit=fit))
    labels = torch.tensor([[3, 5, 7].index(label) for label in LABELS[:N_TRAIN]])
    generator = torch.Generator().manual_seed(params.seed)
    held_out = draw_held_out(labels, fraction=0.2, generator=generator).numpy()
    for row in table[table["model"] == "net_a"].itertuples():
        x = _draw_layers(0)[row.layer].astype(np.float32).astype(np.float64)[:N_TRAIN]
        scaler = StandardScaler().fit(x[~held_out])
        theirs = LogisticRegression(C=1.0 / ((~held_out).sum() * 0.05), tol=1e-10, max_iter=2000)
        theirs.fit(scaler.transform(x[~held_out]), labels[~held_out])
        expected = theirs.score(scaler.transform(x[held_out]), labels[held_out])
        assert row.validation_accuracy == pytest.approx(expected)
        wilson = binomtest(round(row.test_accuracy * N_TEST), N_TEST).proportion_ci(method="wilson")
        assert (row.test_low, row.test_high) == pytest.approx((wilson.low, wilson.high))


def test_held_out_accuracies_do_not_see_the_test_split(tmp_path, study):
    _, subsets = study
    before = tabulate_probe_results(_probe(tmp_path / "before", study))
    layers = _draw_layers(0)
    for x in layers.values():
        x[N_TRAIN:] = 0.0
    changed = store(tmp_path / "changed", {"letters/net_a": make_features(layers)})
    after = tabulate_probe_results(_probe(tmp_path / "after", (changed, subsets)))
    own = before[before["model"] == "net_a"].reset_index(drop=True)
    assert own["validation_accuracy"].tolist() == after["validation_accuracy"].tolist()
    assert own["test_accuracy"].tolist() != after["test_accuracy"].tolist()


def test_stochastic_probes_choose_among_rates_too(tmp_path, study):
    fit = {"solver": "adamw", "learning_rates": [1e-6, 0.05], "weight_decays": [0.0, 0.1], "n_epochs": 15}
    table = tabulate_probe_results(_probe(tmp_path, study, fit={**fit, "batch_size": 16}))
    clear = table[table["layer"] == "clear"]
    assert (clear["test_accuracy"] == 1.0).all()
    assert (clear["learning_rate"] == 0.05).all()


def test_a_set_without_classes_is_left_out_and_the_log_says_so(tmp_path, study, caplog):
    with caplog.at_level(logging.WARNING):
        plan = plan_probes(*study, ProbingParams())
    assert sorted(plan) == ["letters/net_a", "letters/net_b"]
    assert "no probes on stimulus set clouds: 0 classes" in caplog.text


def test_a_set_too_small_to_hold_anything_out_is_named_with_what_to_do(tmp_path):
    layers = {"final": np.random.default_rng(0).normal(size=(4, 3))}
    features = store(tmp_path / "features", {"dots/net_a": make_features(layers)})
    subsets = store(
        tmp_path / "subsets",
        {"dots/analysis": make_subset([0, 1, 0, 1], ["train"] * 2 + ["test"] * 2)},
        ARROW,
    )
    message = (
        r"stimulus set dots is too small .*nothing to hold out.*; leave it out of probing\.stimulus_sets"
    )
    with pytest.raises(Exception, match=message):
        _probe(tmp_path / "a", (features, subsets))
    one = _probe(tmp_path / "b", (features, subsets), fit={"solver": "lbfgs", "weight_decays": [0.1]})
    assert len(tabulate_probe_results(one)) == 1


def test_a_set_without_classes_that_was_asked_for_is_an_error(study):
    with pytest.raises(ValueError, match="'clouds' cannot be probed: 0 classes"):
        plan_probes(*study, ProbingParams(stimulus_sets=["clouds"]))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"stimulus_sets": ["leters"]},
            "unknown stimulus set with features 'leters'; did you mean 'letters'",
        ),
        ({"models": ["net_c"], "stimulus_sets": ["letters"]}, "'net_c'; did you mean 'net_"),
        ({"subset": "analyses"}, "unknown stimulus subset 'clouds/analyses'"),
    ],
)
def test_unknown_names_are_refused_with_close_matches(study, params, message):
    with pytest.raises(ValueError, match=message):
        plan_probes(*study, ProbingParams(**params))


def test_features_of_another_subset_are_refused(tmp_path, study):
    features, _ = study
    short = store(tmp_path / "short", {"letters/analysis": make_subset([0, 1, 0], ["train"] * 3)}, ARROW)
    with pytest.raises(ValueError, match=r"letters/net_a \(90 stimuli\) match no stored subset of 'letters'"):
        plan_probes(features, short, ProbingParams(stimulus_sets=["letters"]))


def test_the_recipe_changes_with_what_the_probe_depends_on(study):
    def recipe(**params):
        plan = plan_probes(*study, ProbingParams(stimulus_sets=["letters"], **params))
        return plan["letters/net_a"].recipe

    assert recipe() == recipe(models=["net_a"])
    assert recipe() != recipe(seed=1)
    assert recipe() != recipe(held_out_fraction=0.3)
    assert recipe() != recipe(keep_probabilities=False)
    assert recipe() != recipe(keep_logits=True)
    assert recipe() != recipe(fit={"solver": "lbfgs", "weight_decays": [1.0]})


@pytest.mark.parametrize(
    "params",
    [
        {"solver": "lbfgs"},
        {"fit": {"solver": "sgd"}},
        {"fit": {"solver": "lbfgs", "weight_decays": [0.0]}},
        {"fit": {"solver": "lbfgs", "learning_rates": [0.1]}},
        {"fit": {"solver": "adamw", "weight_decays": []}},
        {"held_out_fraction": 1.0},
        {"min_classes": 1},
    ],
)
def test_parameters_that_make_no_sense_are_refused(params):
    with pytest.raises(ValidationError):
        ProbingParams(**params)


def _unit_rows(x):
    x = np.asarray(x, np.float32).astype(np.float64)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_without_transform_a_recipe_is_that_of_features_as_they_are_stored(study):
    features, _ = study
    plan = plan_probes(*study, ProbingParams(stimulus_sets=["letters"]))
    recipe = plan["letters/net_a"].recipe
    assert recipe["features"] == features["letters/net_a"].reference
    assert not {"transform", "combinations"} & set(recipe)
    assert plan["letters/net_a"].compute.func.__name__ == "make_probes"


def test_transformed_features_are_probed_and_what_was_learned_gives_the_same_predictions(tmp_path, study):
    transform = ["unit_length", {"pca": {"n_components": 3}}]
    fit = {"solver": "lbfgs", "weight_decays": [0.01], "tolerance": 1e-8}
    handle = _probe(tmp_path, study, fit=fit, transform=transform)["letters/net_a"]
    assert handle.tensor("blurred/weight").shape == (3, 3)
    x = torch.from_numpy(_draw_layers(0)["blurred"].astype(np.float32))[N_TRAIN:]
    steps = unpack_steps(handle, "blurred/transform")
    assert [step.name for step in steps] == ["unit_length", "pca"]
    seen = apply_steps(x, steps).double().numpy()
    predicted = (seen @ handle.tensor("blurred/weight") + handle.tensor("blurred/bias")).argmax(axis=1)
    classes = np.array(handle.meta["classes"])
    assert classes[predicted].tolist() == handle.tensor("blurred/predictions").tolist()


def test_a_transform_is_fitted_on_labelled_training_stimuli_alone(tmp_path, study):
    labels = [None if i % 7 == 0 else label for i, label in enumerate(LABELS)]
    subsets = store(tmp_path / "labels", {"letters/analysis": make_subset(labels, SPLITS)}, ARROW)
    params = {"stimulus_sets": ["letters"], "transform": ["centre"]}
    handle = _probe(tmp_path, (study[0], subsets), **params)["letters/net_a"]
    used = [i for i in range(N_TRAIN) if i % 7]
    expected = _draw_layers(0)["blurred"].astype(np.float32)[used].mean(axis=0)
    offset = handle.tensor("blurred/transform/0-centre/offset")
    np.testing.assert_allclose(offset, expected, rtol=1e-6)


def test_probes_of_unit_rows_are_those_of_rows_that_were_stored_with_length_one(tmp_path, study):
    unit = {name: _unit_rows(x) for name, x in _draw_layers(0).items()}
    stored = store(tmp_path / "unit", {"letters/net_a": make_features(unit)})
    ours = _probe(tmp_path / "ours", study, transform=["unit_length"])["letters/net_a"]
    theirs = _probe(tmp_path / "theirs", (stored, study[1]), models=["net_a"])["letters/net_a"]
    for layer in unit:
        for part in ("weight", "bias", "predictions"):
            np.testing.assert_array_equal(ours.tensor(f"{layer}/{part}"), theirs.tensor(f"{layer}/{part}"))


def test_probes_read_the_rows_of_a_smaller_subset(tmp_path, study):
    rows = [*range(0, N_TRAIN, 2), *range(N_TRAIN, N_TRAIN + N_TEST, 3)]
    table = make_subset(LABELS, SPLITS).take(rows)
    tables = {"letters/analysis": make_subset(LABELS, SPLITS), "letters/few": table}
    subsets = store(tmp_path / "subsets", tables, ARROW)
    params = {"stimulus_sets": ["letters"], "models": ["net_a"]}
    handle = _probe(tmp_path, (study[0], subsets), subset="few", **params)["letters/net_a"]
    assert handle.meta["layers"][0]["n_train"] == N_TRAIN // 2
    assert handle.meta["layers"][0]["n_test"] == N_TEST // 3
    chosen = {name: x[rows] for name, x in _draw_layers(0).items()}
    made = store(tmp_path / "chosen", {"letters/net_a": make_features(chosen)})
    alone = store(tmp_path / "alone", {"letters/analysis": _renumber(table)}, ARROW)
    theirs = _probe(tmp_path / "theirs", (made, alone), **params)["letters/net_a"]
    np.testing.assert_array_equal(handle.tensor("clear/weight"), theirs.tensor("clear/weight"))
    assert "letters/few" in str(handle.recipe["features"]["view"]["rows"])


def _renumber(table):
    return make_subset(table["label"].to_pylist(), table["split"].to_pylist())


def test_a_combination_is_probed_under_its_own_name(tmp_path, study):
    combinations = {
        "beside": {"models": ["net_a", "net_b"]},
        "reduced": {"models": ["net_a", "net_b"], "reduce": {"pca": {"variance": 0.99}}},
    }
    params = {"combinations": combinations, "transform": ["unit_length"]}
    probes = _probe(tmp_path, study, **params)
    table = tabulate_probe_results(probes)
    rows = table[table["model"].isin(combinations)]
    assert rows[["stimulus_set", "model", "layer", "depth", "is_final"]].values.tolist() == [
        ["letters", name, "combined", 0, True] for name in combinations
    ]
    assert probes["letters/beside"].meta["combination"] == ["net_a", "net_b"]
    beside = np.hstack([_unit_rows(_draw_layers(seed)["clear"]) for seed in (0, 1)])
    stored = store(tmp_path / "stored", {"letters/net": make_features({"combined": _unit_rows(beside)})})
    theirs = _probe(tmp_path / "theirs", (stored, study[1]))["letters/net"]
    np.testing.assert_allclose(
        probes["letters/beside"].tensor("combined/weight"), theirs.tensor("combined/weight"), atol=1e-4
    )


def test_combinations_are_no_networks_to_tables_over_pairs(tmp_path, study):
    both = {"both": {"models": ["net_a", "net_b"]}}
    probes = _probe(tmp_path, study, combinations=both)
    [found] = read_final_predictions(probes, study[1])
    assert found.models == ("net_a", "net_b")


def test_a_combination_changes_the_recipe_of_no_network(study):
    both = {"both": {"models": ["net_a", "net_b"]}}
    alone, beside = (plan_probes(*study, ProbingParams(**p)) for p in ({}, {"combinations": both}))
    assert {key: alone[key].recipe for key in alone} == {key: beside[key].recipe for key in alone}
    assert set(beside) - set(alone) == {"letters/both"}


def test_the_chosen_label_is_probed(tmp_path, study):
    further = [None if i % 5 == 0 else i % 2 for i in range(N_TRAIN + N_TEST)]
    meta = {
        "label_columns": {"letter": ["x"] * 8, "parity": ["even", "odd"]},
        "multi_label_columns": {"parts": []},
    }
    table = make_subset(LABELS, SPLITS).append_column("label:parity", pa.array(further, pa.int32()))
    table = table.replace_schema_metadata({b"meta": json.dumps(meta).encode()})
    subsets = store(tmp_path / "subsets", {"letters/analysis": table}, ARROW)
    given = {"stimulus_sets": ["letters"], "models": ["net_a"]}
    own = _probe(tmp_path / "own", (study[0], subsets), **given)
    chosen = _probe(tmp_path / "chosen", (study[0], subsets), labels={"letters": "parity"}, **given)
    assert set(tabulate_probe_results(own)["label"]) == {"letter"}
    rows = tabulate_probe_results(chosen)
    assert (set(rows["label"]), set(rows["n_classes"]), set(rows["n_train"])) == ({"parity"}, {2}, {48})
    [found] = read_final_predictions(chosen, subsets)
    assert found.labels.tolist() == [label for label in further[N_TRAIN:] if label is not None]
    alone = make_subset(further, SPLITS)
    theirs = _probe(
        tmp_path / "theirs",
        (study[0], store(tmp_path / "alone", {"letters/analysis": alone}, ARROW)),
        **given,
    )
    np.testing.assert_array_equal(
        chosen["letters/net_a"].tensor("clear/weight"), theirs["letters/net_a"].tensor("clear/weight")
    )
    with pytest.raises(UserError, match="has no label column 'party'; did you mean 'parity'"):
        plan_probes(study[0], subsets, ProbingParams(labels={"letters": "party"}, **given))
