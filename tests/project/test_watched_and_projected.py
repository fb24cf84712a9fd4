"""The small study watches trainings and projects a layer: from YAML to tables and figure."""

from pathlib import Path

import pandas as pd


def _table(study: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(study / "data/test/07_model_output" / f"{name}.parquet")


def test_watched_trainings_have_saturations_of_both_modes(study: Path) -> None:
    table = _table(study, "saturation_history")
    assert set(table["model"]) == {"cnn_supervised_s0", "cnn_supervised_s1"}
    epochs = table.groupby("mode")["epoch"].unique().map(sorted).to_dict()
    assert epochs == {"eval": [0, 1], "train": [1]}
    of_layer = table[table["layer"] == "conv1"]
    assert of_layer["saturation"].between(0, 1).all()
    assert of_layer.loc[of_layer["mode"] == "eval", "two_nn_dimension"].gt(0).all()
    figure = study / "data/test/08_reporting/figures/saturation_history.svg"
    assert "cnn_supervised_s1" in figure.read_text(encoding="utf-8")


def test_a_projected_network_is_compared_with_itself(study: Path) -> None:
    table = _table(study, "projection_results")
    assert table[["stimulus_set", "model"]].drop_duplicates().to_numpy().tolist() == [
        ["digits", "cnn_supervised_s0"]
    ]
    assert sorted(zip(table["layer"], table["directions"], strict=True)) == [
        (layer, kind) for layer in ("*", "conv3") for kind in ("leading", "random")
    ]
    assert (table["dimension"] <= table["n_channels"]).all()
    assert table["accuracy"].between(0, 1).all()
    assert table["original_accuracy"].nunique() == 1
    assert table["relative_accuracy"].between(table["relative_low"], table["relative_high"]).all()
    figure = study / "data/test/08_reporting/figures/projections.svg"
    assert "cnn_supervised_s0" in figure.read_text(encoding="utf-8")
