"""Measures of outputs: among the networks that have outputs for the same classes, and a reason elsewhere."""

import numpy as np
import pytest
from click.testing import CliRunner
from tests.reference import functional as reference
from tests.small_collections import make_features, run_plan, store

from rep_kedro.analyses.similarity.matrices import plan_similarity_matrices
from rep_kedro.analyses.similarity.params import SimilarityParams
from rep_kedro.commands.measures import command
from rep_kedro.datasets.validators import require_similarity_matrix

N_STIMULI = 20
MATRIX = "rep_kedro.datasets.MatrixDataset"
FUNCTIONAL = ["disagreement", "cohen_kappa", "jensen_shannon"]


def _draw(seed, width):
    return np.random.default_rng(seed).normal(size=(N_STIMULI, width)).astype(np.float32)


LOGITS = {"bold": _draw(0, 4), "calm": _draw(1, 4), "wide": _draw(2, 6)}


@pytest.fixture
def features(tmp_path):
    members = {
        f"letters/{model}": make_features({"fc": logits, "late": _draw(9, 5)})
        for model, logits in LOGITS.items()
    }
    members["letters/blind"] = make_features({"late": _draw(8, 5)})
    return store(tmp_path / "features", members)


def _compare(tmp_path, features, **params):
    made = SimilarityParams(**{"measures": FUNCTIONAL, "outputs_layer": "fc", **params})
    return run_plan(tmp_path / "matrices", plan_similarity_matrices(features, made), MATRIX)


def _softmax(logits):
    powers = np.exp(logits.astype(np.float64))
    return (powers / powers.sum(axis=1, keepdims=True)).tolist()


def test_networks_with_the_same_classes_are_compared(tmp_path, features):
    handles = _compare(tmp_path, features)
    picks = {model: logits.argmax(axis=1).tolist() for model, logits in LOGITS.items()}
    expected = {
        "disagreement": reference.disagreement(picks["bold"], picks["calm"]),
        "cohen_kappa": reference.cohen_kappa(picks["bold"], picks["calm"]),
        "jensen_shannon": reference.jensen_shannon(_softmax(LOGITS["bold"]), _softmax(LOGITS["calm"])),
    }
    for name, value in expected.items():
        matrix = handles[f"letters/{name}"].matrix()
        assert matrix.labels == ("blind", "bold", "calm", "wide")
        assert matrix.values[1, 2] == matrix.values[2, 1] == pytest.approx(value, abs=1e-7)
        assert matrix.meta["n_features"] == [None, 4, 4, 6]
        require_similarity_matrix(matrix)


def test_networks_without_outputs_or_with_other_classes_get_a_reason(tmp_path, features):
    matrix = _compare(tmp_path, features)["letters/disagreement"].matrix()
    assert np.isfinite(matrix.values).tolist() == [
        [False, False, False, False],
        [False, True, True, False],
        [False, True, True, False],
        [False, False, False, True],
    ]
    assert matrix.reasons["bold", "blind"] == "no outputs of blind: layer 'fc' is not stored"
    assert matrix.reasons["wide", "calm"] == "outputs for 4 and for 6 classes cannot be compared"
    assert matrix.reasons["blind", "blind"] == matrix.reasons["bold", "blind"]


def test_the_reason_of_a_measure_itself_is_kept(tmp_path):
    always_first = np.eye(4, dtype=np.float32)[np.zeros(N_STIMULI, dtype=int)]
    members = {f"letters/{name}": make_features({"fc": always_first}) for name in ("one", "same")}
    members["letters/blind"] = make_features({"late": _draw(8, 5)})
    matrix = _compare(tmp_path, store(tmp_path / "features", members))["letters/cohen_kappa"].matrix()
    assert matrix.reasons["one", "same"].startswith("both models put every stimulus into the same")
    require_similarity_matrix(matrix)


def test_outputs_are_never_transformed(tmp_path, features):
    plain = _compare(tmp_path / "plain", features)
    measures = [*FUNCTIONAL, "cka_linear_biased"]
    changed = _compare(
        tmp_path / "changed", features, measures=measures, layer="late", transform=["centre", "unit_length"]
    )
    for name in FUNCTIONAL:
        one, other = (found[f"letters/{name}"] for found in (plain, changed))
        assert one.recipe == other.recipe
        np.testing.assert_array_equal(one.matrix().values, other.matrix().values)
    assert (
        changed["letters/cka_linear_biased"].recipe["features"]
        != plain["letters/disagreement"].recipe["features"]
    )


def test_the_recipe_says_which_networks_had_outputs(features):
    made = SimilarityParams(measures=FUNCTIONAL, outputs_layer="fc")
    plan = plan_similarity_matrices(features, made)
    assert plan["letters/disagreement"].recipe["layers"] == dict.fromkeys(LOGITS, "fc")


def test_the_list_of_measures_says_what_compares_outputs_and_where_error_consistency_is():
    shown = CliRunner().invoke(command, ["--family", "functional"]).output
    assert shown.count("name their layer with similarity.outputs_layer") == len(FUNCTIONAL)
    assert "error consistency needs labels: it is a column of the table prediction_agreement" in shown
    assert "outputs_layer" not in CliRunner().invoke(command, ["--family", "cka"]).output


@pytest.mark.parametrize(("layer", "hint"), [("lats", "did you mean 'late'"), ("head", "known: fc, late")])
def test_a_layer_of_logits_that_no_network_has_is_refused(features, layer, hint):
    made = SimilarityParams(measures=FUNCTIONAL, outputs_layer=layer)
    message = (
        f"no network with features of letters has a layer '{layer}' for similarity.outputs_layer .*; {hint}"
    )
    with pytest.raises(ValueError, match=message):
        plan_similarity_matrices(features, made)
