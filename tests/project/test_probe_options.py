"""Probes with other solvers, and probes of maps, from the command line to the tables."""

from pathlib import Path

import pandas as pd
import pytest
from safetensors.numpy import load_file
from tests.small_study import run_shared

TABLES = "data/test/07_model_output"
PARAMS = (
    "--params=probing.layer_probes.models=[cnn_supervised_s0],probing.layer_probes.stimulus_sets=[digits],"
    "probing.layer_probes.pooled_sides=[2],probing.layer_probes.positions=true,"
    "probing.layer_probes.layers=[conv3],probing.fit.solver=ridge,"
    "probing.layer_probes.attentive.n_epochs=2,probing.keep_logits=true"
)


@pytest.mark.slow
def test_a_run_probes_maps_and_fits_by_another_solver(own_study: Path) -> None:
    command = ("kedro", "run", "--env=test", "--pipelines=probing", PARAMS)
    shown = run_shared(own_study, *command, "--dry-run").stdout
    line = next(line for line in shown.splitlines() if line.startswith("layer_probes: digits/"))
    assert "probes in 1 passes of" in line
    assert "memory" in line
    run_shared(own_study, *command)
    maps = pd.read_parquet(own_study / TABLES / "layer_probe_results.parquet")
    assert set(maps["model"]) == {"cnn_supervised_s0"}
    assert "2x2" in set(maps["readout"])
    attended = maps[maps["readout"] == "attentive"].iloc[0]
    assert attended["n_features"] > 1
    assert 0 <= attended["validation_accuracy"] <= 1
    folder = own_study / TABLES / "layer_probes/digits"
    assert "logits" in load_file(folder / "cnn_supervised_s0+conv3+attentive.safetensors")
    assert maps["row"].notna().sum() == (maps["height"] * maps["width"])[maps["row"].notna()].iloc[0]
    probes = pd.read_parquet(own_study / TABLES / "probe_results.parquet")
    assert set(probes["solver"]) == {"ridge"}
