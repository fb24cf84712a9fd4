"""Features that were made elsewhere: every format, rows by id in any order, and clear refusals."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.numpy import save_file
from scipy.spatial.distance import pdist, squareform
from tests.reference import repeats as reference
from tests.small_collections import ARROW, make_stimuli, make_subset, run_plan, store

from rep_kedro.analyses.similarity.matrices import plan_similarity_matrices
from rep_kedro.analyses.similarity.params import SimilarityParams
from rep_kedro.datasets import CollectionError, Handles
from rep_kedro.errors import UserError
from rep_kedro.features.cards import compute_model_cards
from rep_kedro.features.from_files.formats import open_arrays
from rep_kedro.features.from_files.members import open_file, require_readable, width_of_file
from rep_kedro.features.params import FeaturesParams
from rep_kedro.kernels.similarity.repeats import RDM_KINDS
from rep_kedro.models.sources.array_specs import ArrayPlace
from rep_kedro.models.sources.specs import ModelEntry
from rep_kedro.models.sources.zoo import read_recipe
from rep_kedro.pipelines.features.nodes import plan_dissimilarities, plan_features

N_STIMULI = 8
SHOWN = [6, 1, 4, 0, 3]
VALUES = np.random.default_rng(0).normal(size=(N_STIMULI, 3))
IDS = [f"stimulus-{i}" for i in range(N_STIMULI)]
NO_NETWORKS = Handles({}, {}, {})


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    labels, splits = [i % 2 for i in range(N_STIMULI)], ["train"] * 5 + ["test"] * 3
    pixels = np.zeros((N_STIMULI, 4, 4, 3), dtype=np.uint8)
    sets = {name: make_stimuli(pixels, labels, splits, ["a", "b"]) for name in ("dots", "spots")}
    subsets = {f"{name}/analysis": make_subset(labels, splits).take(SHOWN) for name in sets}
    return store(folder / "sets", sets, ARROW), store(folder / "subsets", subsets, ARROW), NO_NETWORKS


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def _params(place, **entry):
    entry = {"source": "features", "files": {"dots": place}, **entry}
    return FeaturesParams.model_validate({"models": {"human": entry}})


def _features(inputs, place, **entry):
    return run_plan("features", plan_features(*inputs, _params(place, **entry)))["dots/human"]


def _write_npz(order):
    np.savez("f.npz", low=VALUES[order], high=2 * VALUES[order], ids=np.array(IDS)[order])


def _write_safetensors(order):
    save_file({"low": VALUES[order], "high": 2 * VALUES[order]}, "f.safetensors")
    _write_lines(order)


def _write_lines(order):
    Path("ids.txt").write_text("".join(f"{IDS[row]}\n" for row in order))


def _write_parquet(order):
    lists = {"low": list(VALUES[order]), "high": list(2 * VALUES[order])}
    pq.write_table(pa.table({"ids": [IDS[row] for row in order], **lists}), "f.parquet")


def _write_hdf5(order):
    with h5py.File("f.h5", "w") as file:
        file["low"], file["more/high"] = VALUES[order], 2 * VALUES[order]
        file["ids"] = [IDS[row] for row in order]


FORMATS = {
    "f.npz": (_write_npz, {"ids": "ids"}, "high"),
    "f.safetensors": (_write_safetensors, {"ids_file": "ids.txt"}, "high"),
    "f.parquet": (_write_parquet, {"ids": "ids"}, "high"),
    "f.h5": (_write_hdf5, {"ids": "ids"}, "more/high"),
}


@pytest.mark.parametrize("order", [list(range(N_STIMULI)), [3, 7, 0, 1, 6, 2, 5, 4], SHOWN])
@pytest.mark.parametrize("file", FORMATS)
def test_every_format_gives_the_rows_of_the_stimuli_that_are_shown(inputs, file, order):
    write, where, high = FORMATS[file]
    write(order)
    found = _features(inputs, {"path": file, **where}, layers=["low", high])
    assert found.meta["layers"] == ["low", high]
    assert found.meta["final_layer"] == high
    assert found.tensor("low").dtype == np.float32
    np.testing.assert_array_equal(found.tensor("low"), VALUES[SHOWN].astype(np.float32))
    np.testing.assert_array_equal(found.tensor(high), (2 * VALUES[SHOWN]).astype(np.float32))


def test_stimuli_have_the_hash_of_those_that_networks_are_shown(inputs):
    from rep_kedro.features.images import hash_stimulus_ids

    _write_npz([3, 7, 0, 1, 6, 2, 5, 4])
    meta = _features(inputs, {"path": "f.npz", "ids": "ids"}).meta
    assert meta["stimulus_ids_sha256"] == hash_stimulus_ids([IDS[row] for row in SHOWN])
    assert meta["n_stimuli"] == len(SHOWN)


@pytest.mark.parametrize(
    ("order", "rows"),
    [("shown", SHOWN), ("all", list(range(N_STIMULI))), ("train", list(range(5)))],
)
def test_rows_without_ids_are_taken_in_the_order_that_is_declared(inputs, order, rows):
    np.save("f.npy", VALUES[rows])
    if order == "train":  # which lacks stimulus 6
        with pytest.raises(
            CollectionError, match="1 of 5 stimuli of dots/analysis have no row, such as 'stimulus-6'"
        ):
            _features(inputs, {"path": "f.npy", "row_order": order})
        return
    found = _features(inputs, {"path": "f.npy", "row_order": order})
    np.testing.assert_array_equal(found.tensor("features"), VALUES[SHOWN].astype(np.float32))


def test_rows_of_several_axes_and_whole_numbers_become_one_row_of_features(inputs):
    maps = np.arange(N_STIMULI * 12, dtype=np.uint16).reshape(N_STIMULI, 3, 2, 2)
    np.savez("f.npz", maps=np.asfortranarray(maps), one=np.arange(N_STIMULI), flags=np.arange(N_STIMULI) > 3)
    found = _features(inputs, {"path": "f.npz", "row_order": "all"})
    np.testing.assert_array_equal(found.tensor("maps"), maps.reshape(N_STIMULI, -1)[SHOWN].astype(np.float32))
    np.testing.assert_array_equal(found.tensor("one")[:, 0], np.array(SHOWN, dtype=np.float32))
    np.testing.assert_array_equal(found.tensor("flags")[:, 0], (np.array(SHOWN) > 3).astype(np.float32))


def test_columns_of_single_numbers_are_one_array_and_whole_numbers_may_be_ids(inputs):
    order = [3, 7, 0, 1, 6, 2, 5, 4]
    columns = {f"voxel_{i}": VALUES[order, i] for i in range(3)}
    pq.write_table(
        pa.table({"stimulus_id": [IDS[row] for row in order], "note": ["x"] * 8, **columns}), "f.pq"
    )
    with pytest.raises(
        CollectionError, match=r"array 'note' .* holds text, not features; choose arrays by name"
    ):
        _features(inputs, {"path": "f.pq", "ids": "stimulus_id"})
    found = _features(inputs, {"path": "f.pq", "ids": "stimulus_id"}, layers=["columns"])
    np.testing.assert_array_equal(found.tensor("columns"), VALUES[SHOWN].astype(np.float32))
    pq.write_table(pa.table({"number": order, **columns}), "numbers.pq")
    place = ArrayPlace(path="numbers.pq", ids="number")
    file = open_file(place)
    assert file.ids == [str(row) for row in order]
    assert {name: array.shape for name, array in file.layers.items()} == {"columns": (8, 3)}


def test_half_precision_of_torch_is_read(inputs):
    from safetensors.torch import save_file as save_torch

    save_torch({"x": torch.tensor(VALUES).bfloat16()}, "f.safetensors")
    found = _features(inputs, {"path": "f.safetensors", "row_order": "all"})
    expected = torch.tensor(VALUES).bfloat16().float().numpy()[SHOWN]
    np.testing.assert_array_equal(found.tensor("x"), expected)


def test_the_recipe_follows_content_order_and_arrays_and_not_the_place(inputs):
    _write_npz(list(range(N_STIMULI)))
    os.link("f.npz", "moved.npz")

    def recipe(place, **entry):
        plan = plan_features(*inputs, _params({"ids": "ids", **place}, **entry))
        return json.dumps(plan["dots/human"].recipe, sort_keys=True)

    before = recipe({"path": "f.npz"})
    assert recipe({"path": "moved.npz"}, objective="judgements") == before
    assert recipe({"path": "f.npz"}, layers=["low"]) != before
    _write_npz([1, 0, *range(2, N_STIMULI)])
    assert recipe({"path": "f.npz"}) != before
    np.savez("g.npz", low=VALUES)
    _write_lines(range(N_STIMULI))
    by_lines = recipe({"path": "g.npz", "ids": None, "ids_file": "ids.txt"})
    _write_lines([1, 0, *range(2, N_STIMULI)])
    assert recipe({"path": "g.npz", "ids": None, "ids_file": "ids.txt"}) != by_lines


def test_only_the_stimulus_sets_with_a_file_have_such_features(inputs):
    _write_npz(list(range(N_STIMULI)))
    plan = plan_features(*inputs, _params({"path": "f.npz", "ids": "ids"}))
    assert (list(plan), plan.left_out) == (["dots/human"], {})
    some = Handles({"spots": inputs[0]["spots"]}, {"dots": "torn"}, {})
    plan = plan_features(some, *inputs[1:], _params({"path": "f.npz", "ids": "ids"}))
    assert (list(plan), plan.left_out) == ([], {"dots/human": "stimulus_sets/dots is missing"})


def test_the_card_says_what_is_known_and_no_network_is_looked_for(inputs):
    _write_npz(list(range(N_STIMULI)))
    params = _params({"path": "f.npz", "ids": "ids"}, objective="similarity judgements")
    features = run_plan("features", plan_features(*inputs, params))
    [card] = compute_model_cards({}, features, params).to_dict("records")
    assert (card["source"], card["objective"], card["n_layers"]) == ("features", "similarity judgements", 2)
    assert card["feature_width"] == 3
    assert compute_model_cards({}, features, params)["n_parameters"].isna().all()
    assert width_of_file(params.entries()["human"]) == 6
    with pytest.raises(UserError, match="features from a file have no network"):
        read_recipe(features["dots/human"].recipe["model"])


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (
            [*IDS[:5], "x", "y", "z"],
            r"1 of 5 stimuli of dots/analysis have no row, such as 'stimulus-6' and "
            r"3 of 8 rows are of no stimulus of dots, such as 'x', 'y', 'z'",
        ),
        ([*IDS, "w"], "1 of 9 rows are of no stimulus of dots, such as 'w'"),
        (IDS[2:], "2 of 5 stimuli of dots/analysis have no row, such as 'stimulus-1', 'stimulus-0'"),
        ([*IDS[:7], IDS[0]], "1 of 8 stimulus ids are there twice, such as 'stimulus-0'"),
    ],
)
def test_ids_that_do_not_fit_are_refused_with_counts_and_examples(inputs, ids, message):
    np.savez("f.npz", low=np.zeros((len(ids), 2)), ids=np.array(ids))
    plan = plan_features(*inputs, _params({"path": "f.npz", "ids": "ids"}))
    assert not plan
    with pytest.raises(CollectionError, match=message) as refused:
        run_plan("features", plan)
    assert "features.models.human: file of features f.npz" in str(refused.value)


def _save_objects():
    np.savez("f.npz", low=np.array([{}] * 8, dtype=object), ids=np.array(IDS))


def _save_nan():
    np.savez("f.npz", low=np.where(np.arange(16).reshape(8, 2) == 3, np.nan, 1.0), ids=np.array(IDS))


REFUSED = {
    "no file": (lambda: None, {}, "file of features f.npz does not exist"),
    "objects": (_save_objects, {}, "objects of Python, which would need allow_pickle"),
    "no such ids": (
        lambda: np.savez("f.npz", low=VALUES, idz=IDS),
        {},
        "no array 'ids' of stimulus ids; did you mean 'idz'",
    ),
    "ids are features": (
        lambda: np.savez("f.npz", low=VALUES, ids=VALUES),
        {},
        r"array 'ids' of stimulus ids has shape \(8, 3\)",
    ),
    "no such array": (
        lambda: np.savez("f.npz", low=VALUES, ids=IDS),
        {"layers": ["lwo"]},
        "no array 'lwo'; did you mean 'low'",
    ),
    "other rows": (
        lambda: np.savez("f.npz", low=VALUES[1:], ids=IDS),
        {},
        "array 'low' has 7 rows, there are 8 ids",
    ),
    "a row that is too large": (
        lambda: np.savez("f.npz", low=np.ones((len(IDS), 9)), ids=IDS),
        {"files": {"dots": {"path": "f.npz", "ids": "ids", "limit_bytes": 50}}},
        "file of features f.npz: a row of array 'low' takes more than 50 bytes; if meant, raise limit_bytes",
    ),
    "text": (lambda: np.savez("f.npz", low=IDS, ids=IDS), {}, "array 'low' .* holds text, not features"),
    "no features": (lambda: np.savez("f.npz", ids=IDS), {}, "has no arrays of features"),
    "a number": (lambda: np.savez("f.npz", low=3.0, ids=IDS), {}, "is a single number"),
    "another format": (
        lambda: Path("f.npz").write_text("a,b\n1,2\n"),
        {},
        "known formats: npy, npz, safetens",
    ),
    "empty": (lambda: Path("f.npz").touch(), {}, "begins with nothing; known formats"),
    "cut off": (
        lambda: (np.savez("f.npz", low=VALUES, ids=IDS), os.truncate("f.npz", 500)),
        {},
        "f.npz.* not an npz file",
    ),
    "a text of JSON": (
        lambda: Path("f.npz").write_text("12345678{}"),
        {},
        "damaged or contains more than arrays",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_without_features_are_refused_before_any_work_in_one_line(name):
    write, changes, message = REFUSED[name]
    write()
    entry = {"source": "features", "files": {"dots": {"path": "f.npz", "ids": "ids"}}, **changes}
    with pytest.raises(UserError, match=message) as refused:
        require_readable(TypeAdapter(ModelEntry).validate_python(entry))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("order", ["shown", "all", "trian"])
def test_another_number_of_rows_than_declared_is_refused(inputs, order):
    np.save("f.npy", VALUES[:7])
    message = {
        "shown": "it has 7 rows, but row_order: shown means the 5 stimuli of dots",
        "all": "it has 7 rows, but row_order: all means the 8 stimuli of dots",
        "trian": "row_order 'trian' is no split of dots; did you mean 'train'",
    }[order]
    with pytest.raises(CollectionError, match=message):
        _features(inputs, {"path": "f.npy", "row_order": order})


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (
            {"ids": "ids", "limit_bytes": 59},
            "array 'low' takes 60 bytes, the limit is 59; if meant, raise limit_b",
        ),
        ({"ids": "ids"}, "array 'low' has 1 of 15 values that are NaN, infinite or too large .* in row 1"),
    ],
)
def test_arrays_that_are_too_large_or_not_finite_fail_alone_with_their_name(inputs, place, message):
    values = VALUES.copy()
    values[1, 0] = 1e39
    np.savez("f.npz", low=values, ids=IDS)
    with pytest.raises(CollectionError, match=message):
        _features(inputs, {"path": "f.npz", **place})


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([[1.0], [1.0, 2.0, 3.0]], "column 'x' has lists of different lengths"),
        ([[1.0], None], "column 'x' has lists of different lengths or missing ones"),
        ([[1.0], [None]], "column 'x' has 1 missing values"),
    ],
)
def test_columns_with_gaps_are_refused(column, message):
    pq.write_table(pa.table({"id": ["a", "b"], "x": pa.array(column, pa.list_(pa.float32()))}), "f.pq")
    array = open_arrays(Path("f.pq"), "f.pq", "id", limit_bytes=10**9)["x"]
    with pytest.raises(UserError, match=f"^f.pq: {message}"):
        list(array.blocks())


@pytest.mark.parametrize("place", [{}, {"ids": "a", "row_order": "all"}, {"ids_file": "a", "ids": "b"}])
def test_what_each_row_is_must_be_said_once(place):
    with pytest.raises(ValidationError, match="says which stimulus each row is; give exactly one of ids"):
        _params({"path": "f.npz", **place})


def _rdm_params(**place):
    entry = {"source": "dissimilarities", "files": {"dots": {"path": "f.npz", "ids": "ids", **place}}}
    return FeaturesParams.model_validate({"models": {"raters": entry}})


def _write_rdm(change=None, **arrays):
    order = [3, 7, 0, 1, 6, 2, 5, 4]
    rdm = np.abs(VALUES[order][:, None] - VALUES[order]).sum(axis=2) - 1.5
    if change is not None:
        change(rdm)
    np.savez("f.npz", rdm=rdm, ids=np.array(IDS)[order], **arrays)


def _spoil_what_does_not_count(rdm):
    np.fill_diagonal(rdm, np.nan)
    rdm[3, 6] = np.inf  # of a stimulus that is not shown


def test_dissimilarities_have_rows_and_columns_of_the_stimuli_that_are_shown(inputs):
    _write_rdm(_spoil_what_does_not_count)
    params = _rdm_params()
    found = run_plan("rdms", plan_dissimilarities(*inputs[:2], params))["dots/raters"]
    expected = np.abs(VALUES[SHOWN][:, None] - VALUES[SHOWN]).sum(axis=2) - 1.5
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(found.tensor("dissimilarities"), expected, atol=1e-15)
    assert found.tensor("dissimilarities").dtype == np.float64
    assert plan_features(*inputs, params) == {}
    [card] = compute_model_cards({}, {}, params, {"dots/raters": found}).to_dict("records")
    assert (card["model"], card["source"], card["n_layers"]) == ("raters", "dissimilarities", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rdm: rdm.__setitem__((3, 4), 9), r"not symmetric: entries differ .* by up to"),
        (lambda rdm: rdm.__setitem__((3, 4), np.nan), r"array 'rdm' has 1 of 25 values that are NaN"),
    ],
)
def test_dissimilarities_that_are_none_fail_with_the_reason(inputs, change, message):
    _write_rdm(change)
    with pytest.raises(CollectionError, match=message):
        run_plan("rdms", plan_dissimilarities(*inputs[:2], _rdm_params()))


def test_which_array_holds_the_dissimilarities_must_be_clear(inputs):
    _write_rdm(more=np.zeros((8, 2)))
    [entry] = _rdm_params().entries().values()
    with pytest.raises(UserError, match="holds 2 arrays; name one: array: rdm"):
        require_readable(entry)
    with pytest.raises(UserError, match=r"array 'more' has shape \(8, 2\); a matrix of diss"):
        require_readable(entry.model_copy(update={"array": "more"}))
    require_readable(entry.model_copy(update={"array": "rdm"}))


PRESENTED = [5, 0, 1, 3, 4, 6, 6, 4, 1, 0, 3, 2, 3, 1, 0, 4, 6]  # others than those that are shown, once
REPEATS = {"rdm": "crossnobis", "shrinkage": 0.3}


def _write_repeats(presented=PRESENTED, noise=0.1):
    rng = np.random.default_rng(1)
    rows = VALUES[presented] + noise * rng.normal(size=(len(presented), 3))
    np.savez("f.npz", x=rows.reshape(-1, 3, 1), ids=np.array(IDS)[presented])
    return rows


def _repeats_params(repeats=REPEATS, **place):
    files = {"dots": {"path": "f.npz", "ids": "ids", **place}}
    entry = {"source": "dissimilarities", "files": files, "array": "x", "repeats": repeats}
    return FeaturesParams.model_validate({"models": {"raters": entry}})


@pytest.mark.parametrize("rdm", RDM_KINDS)
def test_repeated_presentations_give_dissimilarities_of_the_stimuli_that_are_shown(inputs, rdm):
    rows = _write_repeats()
    found = run_plan("rdms", plan_dissimilarities(*inputs[:2], _repeats_params({**REPEATS, "rdm": rdm})))
    handle = found["dots/raters"]
    seen = [np.flatnonzero(np.equal(PRESENTED, i)) for i in SHOWN]
    repeats = np.array([rows[list(rows_of_repeat)] for rows_of_repeat in zip(*seen, strict=True)])
    expected = squareform(reference.rdm(repeats, rdm, 0.3))
    np.testing.assert_allclose(handle.tensor("dissimilarities"), expected, atol=1e-12)
    assert (handle.meta["n_stimuli"], handle.meta["n_repeats"]) == (5, 3)
    assert handle.recipe["model"]["repeats"] == {**REPEATS, "rdm": rdm}


@pytest.mark.parametrize(
    ("presented", "place", "message"),
    [
        (PRESENTED[:-1], {}, "'stimulus-6' has 2 rows, 'stimulus-1' has 3; repeats needs at least two of"),
        (range(8), {}, "'stimulus-6' has 1 rows, 'stimulus-6' has 1; repeats needs at least two of each"),
        (
            [*PRESENTED[1:6]] * 2,
            {"limit_bytes": 100},
            "5 stimuli with 3 features take 200 bytes, the limit is",
        ),
        ([0, 0, 1, 1, 3, 3, 4, 4], {}, "1 of 5 stimuli of dots/analysis have no row, such as 'stimulus-6'"),
    ],
)
def test_presentations_that_do_not_fit_are_refused_before_anything_is_computed(
    inputs, presented, place, message
):
    _write_repeats(list(presented))
    plan = plan_dissimilarities(*inputs[:2], _repeats_params(**place))
    assert message in plan.left_out["dots/raters"]
    assert "\n" not in plan.left_out["dots/raters"]


def test_dissimilarities_from_repeats_are_compared_with_networks_by_measures_of_rsa(inputs, tmp_path):
    _write_repeats()
    np.save("net.npy", VALUES)
    raters = _repeats_params().models["raters"]
    entry = {"source": "features", "files": {"dots": {"path": "net.npy", "row_order": "all"}}}
    params = FeaturesParams.model_validate({"models": {"raters": raters, "net": entry}})
    features = run_plan("features", plan_features(*inputs, params))
    rdms = run_plan("rdms", plan_dissimilarities(*inputs[:2], params))
    similarity = SimilarityParams(measures=["rsa_euclidean_pearson", "cka_linear_debiased"], device="cpu")
    plan = plan_similarity_matrices(features, similarity, {}, rdms)
    found = run_plan(tmp_path / "found", plan, "rep_kedro.datasets.MatrixDataset")
    rsa, cka = (found[f"dots/{name}"].matrix() for name in similarity.measures)
    crossnobis = squareform(rdms["dots/raters"].tensor("dissimilarities"))
    expected = np.corrcoef(pdist(VALUES[SHOWN].astype(np.float32)), crossnobis)[0, 1]
    assert rsa.labels == ("net", "raters")
    assert rsa.values[0, 1] == pytest.approx(expected, abs=1e-6)
    assert np.isnan(cka.values[0, 1])
    assert "dissimilarities alone" in cka.reasons["net", "raters"]


def test_repeats_need_ids_and_noise(inputs):
    place = {"path": "f.npz", "row_order": "all"}
    entry = {"source": "dissimilarities", "files": {"dots": place}, "repeats": REPEATS}
    with pytest.raises(ValidationError, match=r"but files.dots has row_order; give ids or ids_file"):
        FeaturesParams.model_validate({"models": {"raters": entry}})
    _write_repeats(SHOWN * 2, noise=0)
    with pytest.raises(CollectionError, match=r"differs between stimuli but not between repeats.*undefined"):
        run_plan("rdms", plan_dissimilarities(*inputs[:2], _repeats_params()))
