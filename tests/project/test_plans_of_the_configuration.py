"""What is planned comes from the configuration: a stored plan of another configuration is never followed."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from tests.project.conftest import run_shared

ASKED = ("kedro", "run", "--env=test")


def set_seeds(study: Path, *seeds: int) -> None:
    """Give the supervised networks these seeds."""
    path = study / "conf/test/parameters.yml"
    content = yaml.safe_load(path.read_text())
    content["training"]["grids"][0]["seeds"] = list(seeds)
    path.write_text(yaml.safe_dump(content))


def numbers_of(study: Path, *options: str) -> dict[str, list[str]]:
    """Return how many members a dry run would compute and keep, by collection."""
    shown = run_shared(study, *ASKED, "--dry-run", *options).stdout
    rows = [line.split() for line in shown.split("\n\n", maxsplit=1)[0].splitlines()[1:]]
    return {row[0]: row[1:3] for row in rows}


def compared_in(study: Path) -> set[str]:
    table = pq.read_table(
        study / "data/test/07_model_output/similarities.parquet", columns=["model_a", "model_b"]
    )
    return {*table["model_a"].to_pylist(), *table["model_b"].to_pylist()}


@pytest.mark.slow
def test_a_network_that_was_removed_is_planned_nowhere(own_study: Path) -> None:
    set_seeds(own_study, 0)  # of 0 and 1
    whole = numbers_of(own_study)
    assert whole["networks"] == ["0", "3"]
    assert whole["features"] == ["0", "9"]
    assert whole["probes"] == ["0", "9"]
    assert whole["stitches"] == ["0", "0"]
    assert whole["similarity_matrices"] == ["12", "0"]  # each compares three networks now, of four
    assert numbers_of(own_study, "--pipelines=similarity")["similarity_matrices"] == ["12", "0"]
    shown = run_shared(own_study, *ASKED, "--pipelines=similarity").stderr
    assert "similarity_matrices 12 computed" in shown
    assert compared_in(own_study) == {"cnn_supervised_s0", "cnn_simclr_s0", "cnn_untrained_s0"}
    assert numbers_of(own_study, "--pipelines=similarity")["similarity_matrices"] == ["0", "12"]


def test_a_network_that_was_added_is_asked_for(own_study: Path) -> None:
    set_seeds(own_study, 0, 1, 2)
    assert numbers_of(own_study)["networks"] == ["1", "4"]
    ended = run_shared(own_study, *ASKED, "--pipelines=similarity", check=False)
    assert ended.returncode == 1
    assert "features is incomplete: 3 of 15 members" in ended.stderr
    assert "digits/cnn_supervised_s2: networks/cnn_supervised_s2 is missing" in ended.stderr
