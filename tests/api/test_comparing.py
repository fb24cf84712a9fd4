"""Similarities of arrays: the values of the definitions and of the pipeline, labelled."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from tests.reference.cka import linear_cka

import rep_kedro
from rep_kedro.analyses.similarity.comparison import compare_networks
from rep_kedro.errors import UserError
from rep_kedro.measures import MEASURES

mpl.use("agg")
N = 30


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(N, 4))
    return {
        name: shared @ rng.normal(size=(4, d)) + rng.normal(size=(N, d))
        for name, d in (("cnn", 5), ("vit", 7))
    }


@pytest.mark.parametrize("estimator", ["debiased", "biased"])
def test_the_value_of_two_is_that_of_the_definition(arrays, estimator):
    found = rep_kedro.similarity(list(arrays.values()), f"cka_linear_{estimator}")
    expected = linear_cka(*arrays.values(), estimator)
    assert found.value == pytest.approx(expected, rel=1e-10)
    assert found.values.dtype == np.float64
    assert found.names == ("x0", "x1")


def test_values_and_reasons_are_those_of_the_pipeline(arrays):
    arrays = arrays | {"dead": np.zeros((N, 3))}
    chosen = ["procrustes", "cka_linear_debiased", "linear_regression_r2", "mutual_knn_10"]
    found = rep_kedro.compare(arrays, chosen)
    assert list(found) == chosen
    tensors = {name: torch.from_numpy(x) for name, x in arrays.items()}
    pipeline = compare_networks(
        tensors, [MEASURES[name] for name in chosen], memory_bytes=2**20, device="cpu"
    )
    for measure_id, matrix in pipeline:
        np.testing.assert_array_equal(found[measure_id].values, matrix.values)
        assert found[measure_id].reasons == matrix.reasons
        assert found[measure_id].names == matrix.labels
    assert np.isnan(found["cka_linear_debiased"].values[0, 2])
    assert ("cnn", "dead") in found["cka_linear_debiased"].reasons


def test_numpy_torch_frames_and_views_give_the_same(arrays):
    x, y = arrays.values()
    expected = rep_kedro.similarity([x, y]).value
    read_only = y.copy()
    read_only.flags.writeable = False
    for other in (
        torch.from_numpy(y).requires_grad_(),
        pd.DataFrame(y),
        y.tolist(),
        y[::-1][::-1],
        read_only,
    ):
        assert rep_kedro.similarity([x, other]).value == expected
    assert rep_kedro.similarity([x, y.astype(">f8")]).value == expected
    counts = (100 * np.abs(x)).astype(np.uint16)
    assert rep_kedro.similarity([counts, y]).value == rep_kedro.similarity([counts.astype(float), y]).value


def test_entry_a_b_of_a_directed_measure_asks_a_of_b(arrays):
    found = rep_kedro.similarity(arrays, "linear_regression_r2")
    assert found.value == found.values[0, 1] != found.values[1, 0]
    assert repr(found).splitlines()[0].endswith("; directed, from row to column")


def test_it_prints_as_a_labelled_table_with_reasons(arrays):
    found = rep_kedro.similarity([*arrays.values(), np.ones((N, 2))], names=["cnn", "<vit>", "flat"])
    head, columns, *rows, note = repr(found).splitlines()
    assert head == "CKA (linear, debiased)"
    assert columns.split() == ["cnn", "<vit>", "flat"]
    assert rows[0].split() == ["cnn", "1.0000", f"{found.values[0, 1]:.4f}", "NaN"]
    assert note.startswith("undefined for cnn, flat and 4 more: ")
    assert "&lt;vit&gt;" in found._repr_html_()
    assert "<vit>" not in found._repr_html_()
    frame = found.to_frame()
    assert frame.at["cnn", "<vit>"] == found.values[0, 1]
    frame.iloc[0, 0] = 7
    assert found.values[0, 0] != 7


@pytest.mark.parametrize("measure", ["cka_linear_debiased", "procrustes", "gulp_1"])
def test_a_plot_shows_the_values_and_the_names(arrays, measure):
    found = rep_kedro.similarity(arrays | {"flat": np.ones((N, 2))}, measure)
    axes = found.plot()
    np.testing.assert_array_equal(axes.images[0].get_array().filled(np.nan), found.values)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cnn", "vit", "flat"]
    assert axes.get_title() == MEASURES[measure].title
    assert {text.get_text() for text in axes.texts} >= {"–", f"{found.values[0, 1]:.2f}"}
    assert found.plot(axes) is axes
    mpl.pyplot.close(axes.figure)


X = np.random.default_rng(1).normal(size=(6, 3))
HOLE = np.where(np.arange(6)[:, None] == 2, np.nan, X)
WHOLE = np.arange(6, dtype=np.uint64)[:, None] + np.uint64(2**63 - 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([X, X[:5]],), r"x1 has 5 stimuli, x0 has 6; all must have the same stimuli"),
        (({"a": X, "b c": HOLE},), r"b c contains NaN or infinity in 1 of 6 stimuli, first in stimulus 2"),
        (([X[:3]],), r"x0 has 3 stimuli, need at least 4"),
        (([X[0]],), r"x0 has shape \(3,\), need \(n_stimuli, n_features\)"),
        ((X,), r"must be a list of arrays or a dict of them by name, got one array"),
        (([],), r"no representations to compare"),
        (([[["a"]]],), r"the representation 'x0' has type <U1; give real numbers"),
        (([X * 1j],), r"the representation 'x0' has type complex128"),
        (([torch.tensor(X * 1j)],), r"the representation 'x0' has type torch.complex128"),
        (([torch.tensor(X).to(torch.float8_e4m3fn)],), r"'x0' has type torch.float8_e4m3fn; give"),
        (([torch.tensor(X).to_sparse()],), r"'x0' is a sparse or nested tensor; give a dense one"),
        (([torch.empty(6, 3, device="meta")],), r"'x0' is on the device meta and has no values"),
        (([np.ma.masked_inside(X, X[0, 0], X[0, 0])],), r"'x0' has 1 masked values; leave out their samples"),
        (([[[1.0, 2.0], [3.0]]],), r"the representation 'x0' is not an array of numbers: setting an array"),
        (([WHOLE],), r"'x0' holds integers from 9223372036854775807 to 9223372036854775812; beyond 2\^53"),
        (([torch.tensor(X[:, :1] > 0) * 2**60],), r"'x0' holds integers from 0 to 1152921504606846976"),
        (({1: X, "1": X},), r"names are listed twice: \['1'\]"),
        (([X], "cka_linear_debiasd"), r"unknown similarity measure 'cka_linear_debiasd'; did you mean 'cka_"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_in_one_line(given, message):
    with pytest.raises(rep_kedro.UserError, match=message):
        rep_kedro.similarity(*given)


@pytest.mark.parametrize("device", ["cpuu", "meta", "cuda:99"])
def test_devices_that_are_not_there_are_refused_in_one_line(device):
    with pytest.raises(
        rep_kedro.UserError, match=rf"device '{device}' cannot be used here: [^\n]+; use cpu$"
    ):
        rep_kedro.similarity([X, X], device=device)
    with pytest.raises(rep_kedro.UserError, match=rf"device '{device}' cannot be used here"):
        rep_kedro.extract(torch.nn.Sequential(torch.nn.Linear(3, 2)), X, device=device)


def test_whole_numbers_of_repeats_are_compared_as_floats():
    whole = np.random.default_rng(0).integers(0, 99, (2, 6, 3))
    found = rep_kedro.similarity_of_repeats([whole, whole[:, ::-1]])
    pd.testing.assert_frame_equal(found, rep_kedro.similarity_of_repeats([whole * 1.0, whole[:, ::-1] * 1.0]))


def test_names_that_do_not_fit_are_refused(arrays):
    with pytest.raises(rep_kedro.UserError, match="2 representations need as many names, got 1"):
        rep_kedro.similarity([X, X], names=["a"])
    with pytest.raises(rep_kedro.UserError, match="names are listed twice: \\['a'\\]"):
        rep_kedro.similarity([X, X], names=["a", "a"])
    with pytest.raises(rep_kedro.UserError, match="have names already"):
        rep_kedro.similarity(arrays, names=["a", "b"])
    with pytest.raises(rep_kedro.UserError, match="value is for two representations, got 1; use values"):
        _ = rep_kedro.similarity([X]).value


def test_measures_to_compare_are_a_list_of_different_ids():
    with pytest.raises(rep_kedro.UserError, match="measures must be a list of ids, got 'procrustes'"):
        rep_kedro.compare([X], "procrustes")
    with pytest.raises(rep_kedro.UserError, match="measures are listed twice: \\['procrustes'\\]"):
        rep_kedro.compare([X], ["procrustes", "procrustes"])
    with pytest.raises(rep_kedro.UserError, match="no measure was named"):
        rep_kedro.compare([X], [])


def test_the_table_of_measures_is_that_of_the_registry():
    table = rep_kedro.measures()
    assert list(table.index) == list(MEASURES)
    row = table.loc["linear_regression_r2"]
    assert (row["family"], row["symmetric"], row["high"]) == ("linear_map", False, 1.0)
    for name, measure in MEASURES.items():
        assert set(table.at[name, "invariances"]) == measure.invariances
        assert (table.at[name, "low"], table.at[name, "high"]) == measure.value_range
    assert set(rep_kedro.measures("RSA")["family"]) == {"rsa"}
    with pytest.raises(rep_kedro.UserError, match="unknown family 'kernels'; known: alignment, cka"):
        rep_kedro.measures("kernels")


def test_flat_stimuli_are_left_out_where_asked_and_counted(arrays):
    flat = arrays | {"relu": np.maximum(arrays["vit"], 0)}
    flat["relu"][[1, 8, 9]] = 0
    kept = rep_kedro.similarity(flat, "rsa_cosine_pearson")
    assert kept.n_left_out is None
    assert np.isnan(kept.values[0, 2])
    found = rep_kedro.similarity(flat, "rsa_cosine_pearson", flat_stimuli="leave_out")
    rows = np.delete(np.arange(N), [1, 8, 9])
    expected = rep_kedro.similarity([flat["cnn"][rows], flat["relu"][rows]], "rsa_cosine_pearson").value
    assert found.values[0, 2] == pytest.approx(expected, rel=1e-12)
    assert found.n_left_out.tolist() == [[0, 0, 3], [0, 0, 3], [3, 3, 3]]
    assert "without up to 3 stimuli that are flat for one of two" in str(found)
    with pytest.raises(
        rep_kedro.UserError, match="unknown choice of flat_stimuli 'leave_outs'; did you mean"
    ):
        rep_kedro.similarity(flat, flat_stimuli="leave_outs")


@pytest.mark.parametrize("measure", ["disagreement", "cohen_kappa", "jensen_shannon"])
@pytest.mark.parametrize("flat_stimuli", ["keep", "leave_out"])
def test_outputs_for_other_classes_are_refused_by_name(measure, flat_stimuli):
    outputs = [np.eye(7), np.eye(7)[:, :5]]
    message = f"{measure} compares outputs for the same classes, but x0 has 7 columns and x1 has 5"
    with pytest.raises(UserError, match=message):
        rep_kedro.similarity(outputs, measure, flat_stimuli=flat_stimuli)
