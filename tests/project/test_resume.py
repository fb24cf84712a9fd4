"""Whole runs: killed at random moments, changed in one place, shared between processes."""

import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.project.conftest import BIN, copy_project, run_shared

pytestmark = pytest.mark.slow

COLLECTIONS = {
    "stimulus_sets": "02_intermediate",
    "stimulus_subsets": "03_primary",
    "networks": "06_models",
    "features": "04_feature",
    "spectra": "07_model_output",
    "training_spectra": "07_model_output",
    "projections": "07_model_output",
    "similarity_matrices": "07_model_output",
    "similarity_nulls": "07_model_output",
    "layer_similarity_matrices": "07_model_output",
    "layer_matches": "07_model_output",
    "dissimilarities": "04_feature",
    "sample_size_curves": "07_model_output",
    "probes": "07_model_output",
    "layer_probes": "07_model_output",
    "stitches": "07_model_output",
}
SUMMARY = re.compile(r"(\w+): (\d+) members: (\d+) computed, (\d+) kept, (\d+) failed")
KILLS = 6


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_same_bytes_and_repeats_nothing(
    study: Path, tmp_path: Path
) -> None:
    folder = copy_project(tmp_path)
    moments = random.Random(0)  # noqa: S311
    finished: set[Path] = set()
    for _ in range(KILLS):
        process = subprocess.Popen(
            [str(BIN / "kedro"), "run", "--env=test"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(moments.uniform(2.0, 7.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = _members(folder)
        assert finished <= set(now)
        finished = set(now)
    stamps = {path: (folder / path).stat().st_mtime_ns for path in finished}
    run_shared(folder, "kedro", "run", "--env=test")
    assert {path: (folder / path).stat().st_mtime_ns for path in finished} == stamps
    assert {path: (folder / path).read_bytes() for path in _members(folder)} == {
        path: (study / path).read_bytes() for path in _members(study)
    }
    assert not list((folder / "data").rglob("*.partial"))


def test_a_second_run_computes_nothing(own_study: Path) -> None:
    before = _single_files(own_study)
    text = run_shared(own_study, "kedro", "run", "--env=test").stderr
    shown = _summaries(text)
    assert set(shown) == {*COLLECTIONS, "figures", "stitch_reports"}
    assert {name: computed for name, (computed, _) in shown.items()} == dict.fromkeys(shown, 0)
    assert "nothing computed: " in text
    assert _single_files(own_study) == before


def test_another_threshold_of_saturation_computes_what_depends_on_it(own_study: Path) -> None:
    before = _single_files(own_study)
    run_shared(own_study, "kedro", "run", "--env=test", "--params=diagnostics.deltas=[0.5]")
    after = _single_files(own_study)
    changed = {path.stem for path, state in after.items() if before[path] != state}
    assert changed == {
        *("layer_diagnostics", "label_free_measures", "saturation_history", "projection_results", "report")
    }  # the first two have one recipe, the next two as well


def test_a_damaged_table_is_computed_again_and_nothing_else(own_study: Path) -> None:
    before = _single_files(own_study)
    damaged = next(path for path in before if path.stem == "consistency")
    damaged.write_bytes(damaged.read_bytes()[:-50])
    run_shared(own_study, "kedro", "run", "--env=test", "--pipelines=similarity")
    after = _single_files(own_study)
    assert {path: content for path, (_, content) in after.items()} == {
        path: content for path, (_, content) in before.items()
    }
    assert [path for path in after if after[path] != before[path]] == [damaged]


def test_other_epochs_of_one_network_recompute_it_and_exactly_its_descendants(own_study: Path) -> None:
    parameters = own_study / "conf" / "test" / "parameters.yml"
    text = parameters.read_text(encoding="utf-8")
    parameters.write_text(
        text.replace(
            "\ntraining:\n", "\ntraining:\n  overrides: {cnn_supervised_s1: {schedule: {epochs: 2}}}\n", 1
        ),
        encoding="utf-8",
    )
    before = {path: (own_study / path).read_bytes() for path in _members(own_study)}
    shown = _summaries(run_shared(own_study, "kedro", "run", "--env=test").stderr)
    assert shown.pop("figures")[0] > 0
    assert {name: computed for name, (computed, _) in shown.items()} == {
        "stimulus_sets": 0,
        "stimulus_subsets": 0,
        "networks": 1,
        "features": 3,
        "spectra": 3,
        "training_spectra": 1,
        "projections": 0,
        "probes": 3,
        "layer_probes": 0,
        "stitches": 0,
        "stitch_reports": 0,
        "similarity_matrices": 12,
        "similarity_nulls": 3,
        "layer_similarity_matrices": 3,
        "layer_matches": 3,
        "dissimilarities": 0,
        "sample_size_curves": 3,
    }
    changed = {path for path, content in before.items() if (own_study / path).read_bytes() != content}
    of_all_networks = {
        *("similarity_matrices", "similarity_nulls", "sample_size_curves"),
        *("layer_similarity_matrices", "layer_matches"),
    }
    assert all("cnn_supervised_s1" in str(path) or path.parts[3] in of_all_networks for path in changed)
    assert Path("data/test/06_models/networks/cnn_supervised_s1.safetensors") in changed


def test_two_processes_work_the_shards_of_one_plan(own_study: Path, study: Path) -> None:
    features = own_study / "data" / "test" / "04_feature"
    for path in features.rglob("*.safetensors"):
        path.unlink()
    command = [str(BIN / "kedro"), "run", "--env=test", "--pipelines=features"]
    workers = [
        subprocess.Popen(
            [*command, f"--params=shard={part}/2"], cwd=own_study, stderr=subprocess.PIPE, text=True
        )
        for part in (1, 2)
    ]
    shown = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], shown
    computed = [_summaries(text)["features"][0] for text in shown]
    assert sum(computed) == 12
    assert min(computed) > 0
    for path in _members(study):
        assert (own_study / path).read_bytes() == (study / path).read_bytes()


def test_a_damaged_network_is_refused_by_name_and_rebuilt_on_request(own_study: Path) -> None:
    damaged = own_study / "data" / "test" / "06_models" / "networks" / "cnn_simclr_s0.safetensors"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    refused = run_shared(own_study, "kedro", "run", "--env=test", "--pipelines=training", check=False)
    assert refused.returncode == 1
    assert "cnn_simclr_s0" in refused.stderr
    assert "truncated" in refused.stderr
    assert "recompute=networks/cnn_simclr_s0" in refused.stderr
    run_shared(
        own_study,
        "kedro",
        "run",
        "--env=test",
        "--pipelines=training",
        "--params=recompute=networks/cnn_simclr_s0",
    )
    assert damaged.read_bytes() == whole


def test_inference_that_is_switched_off_is_left_out_of_the_study(own_study: Path) -> None:
    parameters = own_study / "conf" / "test" / "parameters.yml"
    off = "\nsimilarity_inference: {n_permutations: 0, n_bootstrap: 0}\nsample_sizes: {n_orders: 0}\n"
    parameters.write_text(parameters.read_text(encoding="utf-8") + off, encoding="utf-8")
    shown = _summaries(
        run_shared(own_study, "kedro", "run", "--env=test", "--pipelines=similarity,reporting").stderr
    )
    assert shown["similarity_nulls"] == (0, 0)
    assert shown["sample_size_curves"] == (0, 0)


@pytest.fixture(autouse=True)
def _in_order(study: Path) -> None:
    """The undisturbed study comes first, so that it is not made while a test measures."""


def _single_files(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Return time and bytes of the tables and of the report."""
    found = [path for path in (folder / "data" / "test").glob("*/*") if path.suffix in {".parquet", ".html"}]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(found)}


def _members(folder: Path) -> list[Path]:
    found = []
    for name, layer in COLLECTIONS.items():
        below = folder / "data" / "test" / layer / name
        found += [
            path.relative_to(folder)
            for path in sorted(below.rglob("*"))
            if path.suffix in {".parquet", ".safetensors"}
        ]
    return [path for path in found if not path.name.startswith(".")]


def _summaries(text: str) -> dict[str, tuple[int, int]]:
    """Return (computed, kept) per collection, read off the summary lines."""
    return {name: (int(computed), int(kept)) for name, _, computed, kept, _ in SUMMARY.findall(text)}
