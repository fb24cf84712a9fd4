"""Tails of networks against their border layers, by hand."""

import pandas as pd

from rep_kedro.analyses.diagnostics.params import DiagnosticsParams
from rep_kedro.analyses.diagnostics.tails import compute_layer_tails
from rep_kedro.schemas.diagnostics import LAYER_TAILS

LAYERS = ["a", "b", "c", "d"]
ACCURACIES = {
    "net_s0": [0.3, 0.6, 0.9, 0.905],  # tail from d on
    "net_s1": [0.3, 0.9, 0.8, 0.905],  # tail from c on
    "other": [0.3, 0.5, 0.7, 0.9],  # still gains
    "single": [0.5],
}


def _tables():
    probes = pd.DataFrame(
        [
            {"stimulus_set": "digits", "model": model, "layer": layer, "depth": depth, "test_accuracy": value}
            for model, values in ACCURACIES.items()
            for depth, (layer, value) in enumerate(zip(LAYERS, values, strict=False))
        ]
    ).sample(frac=1, random_state=0)
    fields = pd.DataFrame(
        [
            {"model": model, "layer": layer, "depth": depth, "input_px": 16, "is_border": layer == "c"}
            for model in ("net_s0", "net_s1")
            for depth, layer in enumerate(LAYERS)
        ]
    )
    cards = pd.DataFrame(
        [
            {"model": model, "architecture": "net", "objective": "supervised", "trained_on": "digits"}
            for model in ("net_s0", "net_s1", "other")
        ]
    )
    return probes, fields, cards


def test_tails_borders_and_their_range_over_seeds():
    table = compute_layer_tails(*_tables(), DiagnosticsParams())
    assert list(table.columns) == list(LAYER_TAILS.names)
    rows = table.set_index("model")
    found = rows[["tail_layer", "layers_behind_border", "n_seeds", "tail_depth_min", "tail_depth_max"]]
    assert found.loc["net_s0"].tolist() == ["d", 1, 2, 2, 3]
    assert found.loc["net_s1"].tolist() == ["c", 0, 2, 2, 3]
    assert rows.loc[["other", "single"], "tail_layer"].isna().all()
    assert rows["reason"].to_dict() == {
        **{"net_s0": "", "net_s1": ""},
        "other": "the last layer still gains",
        "single": "fewer than two layers have a probe",
    }
    # `other` is of the same kind, but its input side is not known: it is not counted with them.
    assert rows["n_seeds"].tolist() == [2, 2, 1, 1]
    assert (rows.loc["net_s0", "border_layer"], rows.loc["net_s0", "border_depth"]) == ("c", 2)
    assert rows.loc["other", ["border_layer", "border_depth", "layers_behind_border"]].isna().all()


def test_the_bound_moves_the_tail():
    table = compute_layer_tails(*_tables(), DiagnosticsParams(tail_epsilon=0.4)).set_index("model")
    assert table["tail_layer"].dropna().to_dict() == {"net_s0": "c", "net_s1": "c", "other": "d"}


def test_without_probes_the_table_is_empty():
    probes, fields, cards = _tables()
    assert len(compute_layer_tails(probes.iloc[:0], fields, cards, DiagnosticsParams())) == 0
