"""A run that keeps going completes what it can, says what is missing, and ends as if nothing had failed."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from tests.project.conftest import copy_project, run_in

from rep_kedro.models.architecture_files import load_architecture
from rep_kedro.models.building import build_network

pytestmark = pytest.mark.slow

INCOMPLETE = 3
WITH_TIMES = {"run_table.parquet", "training_costs.parquet", "report.html"}
DIVERGES, LEARNS = 1e30, 0.01
MISSING = {
    "stimulus_sets/mine",
    "networks/cnn_supervised_hot_s5",
    "features/digits/elsewhere",
    "features/digits/cnn_supervised_hot_s5",
    "features/mine/cnn_supervised_s0",
    "spectra/digits/elsewhere",
    "probes/digits/elsewhere",
    "similarity_matrices/mine/cka_linear_debiased",
}


def prepare(folder: Path) -> Path:
    """Copy the project; add a set with a torn image, a network that diverges, and one without its file."""
    copy_project(folder)
    path = folder / "conf/test/parameters.yml"
    content = yaml.safe_load(path.read_text())
    content["ingest"]["stimulus_sets"]["mine"] = {
        "source": "image_folder",
        "path": "photos",
        "test_fraction": 0.5,
    }
    content["ingest"]["stimulus_subsets"]["mine"] = {"analysis": {"total": {"train": 6, "test": 6}}}
    content["training"]["grids"].append(
        {
            **{"objective": "supervised", "architectures": ["cnn"], "seeds": [5], "label": "hot"},
            "schedule": {"epochs": 1, "batch_size": 64, "learning_rate": DIVERGES},
        }
    )
    content["features"] = {
        "models": {
            "elsewhere": {
                **{"source": "checkpoint", "architecture": "cnn", "n_classes": 10},
                "path": "elsewhere.safetensors",
            }
        }
    }
    content["consistency"]["anchors"] = ["cnn_supervised_hot_s5"]
    path.write_text(yaml.safe_dump(content))
    generator = torch.Generator().manual_seed(0)
    for name in ("cats", "dogs"):
        (folder / "photos" / name).mkdir(parents=True)
        for index in range(8):
            pixels = torch.randint(0, 256, (16, 16, 3), generator=generator, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(folder / "photos" / name / f"{index}.png")
    (folder / "photos/cats/0.png").rename(folder / "whole.png")
    (folder / "photos/cats/0.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    return folder


def remove_causes(folder: Path) -> None:
    """Put the network's file there and the whole image, and lower the learning rate."""
    state = build_network(load_architecture("cnn"), n_classes=10, seed=9).state_dict()
    save_file(
        {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")},
        folder / "elsewhere.safetensors",
    )
    shutil.copy(folder / "whole.png", folder / "photos/cats/0.png")
    path = folder / "conf/test/parameters.yml"
    content = yaml.safe_load(path.read_text())
    content["training"]["grids"][-1]["schedule"]["learning_rate"] = LEARNS
    path.write_text(yaml.safe_dump(content))


BUGS = {  # a function that makes a table, and a planner
    "analyses/consistency/consistency.py": (
        "def compute_consistency(",
        "raise RuntimeError('no such table')",
    ),
    "pipelines/stitching/nodes.py": ("def plan_stitches(", "raise RuntimeError('no such plan')"),
}
LOST = {
    "consistency/*": "RuntimeError: no such table",
    "consistency_summary/*": "RuntimeError: no such table",
    "anchor_comparisons/*": "RuntimeError: no such table",
    "measure_agreement/*": "consistency is missing",
    "figures/consistency": "consistency is missing",
    "figures/set_pairs": "consistency is missing",
    "figures/anchors": "consistency, anchor_comparisons are missing",
    "figures/consistency_by_category": "consistency, consistency_summary are missing",
    "figures/measure_agreement": "measure_agreement, consistency are missing",
    "stitches/*": "RuntimeError: no such plan",
    "stitch_reports/*": "stitches is missing",
    "stitching_results/*": "stitches is missing",
    "stitching_summary/*": "stitches is missing",
    "stitch_paths/*": "stitches is missing",
    "figures/stitching": "stitching_results is missing",
    "figures/stitching_maps": "stitching_results is missing",
    "figures/stitching_cka": "stitching_results is missing",
    "figures/stitching_grid": "stitching_results is missing",
}


def put_bugs(folder: Path) -> None:
    """Let a function that makes a table and a planner raise, whatever they are given."""
    for module, (head, bug) in BUGS.items():
        path = folder / "src/rep_kedro" / module
        before, _, after = path.read_text().partition(head)
        signature, quotes, docstring_and_body = after.partition('"""')
        docstring, end, body = docstring_and_body.partition('"""')
        path.write_text(f"{before}{head}{signature}{quotes}{docstring}{end}\n    {bug}{body}")


def run(folder: Path, *options: str) -> Any:
    return run_in(folder, "kedro", "run", "--env=test", *options, check=False)


def results_of(folder: Path) -> dict[str, str]:
    """Return a digest of each file that holds no times."""
    data = folder / "data/test"
    return {
        str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(data.rglob("*"))
        if path.is_file() and path.name not in WITH_TIMES and not path.name.endswith(".journal.jsonl")
    }


def missing_in(folder: Path) -> dict[str, str]:
    """Return the reasons in the table of missing members, by collection and key."""
    table = pd.read_parquet(folder / "data/test/08_reporting/missing_members.parquet")
    return {f"{row.collection}/{row.key}": row.reason for row in table.itertuples()}


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A study of which a set, a network and a file fail, run with --keep-going; and the answer."""
    folder = prepare(tmp_path_factory.mktemp("spoilt"))
    return folder, run(folder, "--keep-going")


def test_what_is_complete_is_completed_and_the_rest_is_listed(spoilt: tuple[Path, Any]) -> None:
    folder, answer = spoilt
    shown = answer.stdout + answer.stderr
    assert answer.returncode == INCOMPLETE, shown
    assert "Traceback" not in shown
    missing = missing_in(folder)
    assert missing.keys() >= MISSING
    assert "torn" in missing["stimulus_sets/mine"] or "truncated" in missing["stimulus_sets/mine"]
    assert "diverged in epoch 1" in missing["networks/cnn_supervised_hot_s5"]
    assert "elsewhere.safetensors does not exist" in missing["features/digits/elsewhere"]
    assert (
        "made without cnn_supervised_hot_s5, elsewhere"
        in missing["similarity_matrices/digits/cka_linear_debiased"]
    )
    tables = folder / "data/test/07_model_output"
    compared = pd.read_parquet(tables / "similarities.parquet")
    assert set(compared["stimulus_set"]) == {"digits", "photograph_patches", "shapes"}
    assert len(set(compared["model_a"]) | set(compared["model_b"])) == 4
    assert len(pd.read_parquet(tables / "probe_results.parquet")["model"].unique()) == 4
    report = (folder / "data/test/08_reporting/report.html").read_text()
    assert report.index('<section id="missing">') < report.index('<section id="alike">')
    assert "This report is incomplete" in report
    last = shown[shown.index("incomplete: ") :]
    assert f"incomplete: {len(missing)} results are missing" in last
    for name in ("stimulus_sets: mine: ", "networks: cnn_supervised_hot_s5: training of network"):
        assert name in last


def test_without_the_option_an_incomplete_study_is_refused(spoilt: tuple[Path, Any], tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(spoilt[0], folder)
    for pipelines, why in {
        "features": "checkpoint elsewhere.safetensors does not exist",
        "training": "stimulus_sets is incomplete: 1 of 4 members",
        "probing": "features is incomplete",
        "reporting": "made without",
    }.items():
        answer = run(folder, f"--pipelines={pipelines}")
        assert answer.returncode == 1
        assert why in answer.stdout + answer.stderr
    answer = run(folder, "--pipelines=ingest")
    assert answer.returncode == 1
    assert "stimulus_sets: 1 of 4 members failed" in answer.stdout + answer.stderr


@pytest.mark.slow
def test_a_second_run_completes_all_with_the_bytes_of_a_run_without_failures(
    spoilt: tuple[Path, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "mended"
    shutil.copytree(spoilt[0], folder)
    remove_causes(folder)
    answer = run(folder, "--keep-going")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert missing_in(folder) == {}
    assert '<section id="missing">' not in (folder / "data/test/08_reporting/report.html").read_text()
    clean = prepare(tmp_path / "clean")
    remove_causes(clean)
    answer = run(clean)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert results_of(folder) == results_of(clean)


@pytest.mark.slow
def test_workers_keep_going_too(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "study")
    answer = run(folder, "--keep-going", "--workers=2", "--pipelines=ingest,training,features")
    shown = answer.stdout + answer.stderr
    assert answer.returncode == INCOMPLETE, shown
    assert "networks: cnn_supervised_hot_s5: training of network" in shown
    made = folder / "data/test/04_feature/features"
    assert len(list(made.rglob("*.safetensors"))) == 12  # four networks on three sets


@pytest.fixture(scope="module")
def buggy(study: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The small study, run again with --keep-going after bugs came into it; and the answer."""
    folder = tmp_path_factory.mktemp("buggy") / "study"
    shutil.copytree(study, folder)
    put_bugs(folder)
    return folder, run(folder, "--keep-going")


def test_a_table_or_a_plan_that_fails_is_missing_and_all_else_is_made(
    buggy: tuple[Path, Any], study: Path
) -> None:
    folder, answer = buggy
    shown = answer.stdout + answer.stderr
    assert answer.returncode == INCOMPLETE, shown
    assert missing_in(folder) == LOST
    assert f"incomplete: {len(LOST)} results are missing" in shown
    assert "consistency failed: RuntimeError: no such table" in shown
    assert shown.count("Traceback") == len(BUGS)
    report = (folder / "data/test/08_reporting/report.html").read_text()
    assert report.index('<section id="missing">') < report.index('<section id="alike">')
    assert "RuntimeError: no such plan" in report
    results, whole = results_of(folder), results_of(study)
    reasons = {f"{name}.missing" for name in whole.keys() - results.keys()}
    assert {Path(name).stem for name in whole.keys() - results.keys()} == {
        *("consistency", "consistency_summary", "anchor_comparisons", "measure_agreement"),
        *("stitching_results", "stitching_summary", "stitch_paths"),
    }
    assert results.keys() - whole.keys() == reasons
    assert {name for name in whole.keys() & results.keys() if whole[name] != results[name]} == {
        "07_model_output/stitches/plan.json",
        "08_reporting/figures/plan.json",
        "08_reporting/stitch_reports/plan.json",
        "08_reporting/missing_members.parquet",
    }


def test_what_a_run_could_not_make_is_refused_as_input_with_the_reason(buggy: tuple[Path, Any]) -> None:
    answer = run(buggy[0], "--pipelines=reporting")
    assert answer.returncode == 1
    assert "consistency: RuntimeError: no such table" in answer.stderr
    assert "stitches is incomplete: 1 of 1 members are not as planned (*: RuntimeError" in answer.stderr


@pytest.mark.slow
def test_workers_and_later_runs_know_what_is_missing(study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    put_bugs(folder)
    answer = run(folder, "--keep-going", "--workers=2", "--pipelines=similarity,stitching")
    assert answer.returncode == INCOMPLETE, answer.stderr
    answer = run(folder, "--keep-going", "--pipelines=reporting")
    assert answer.returncode == INCOMPLETE, answer.stderr
    assert missing_in(folder) == LOST


def test_when_the_bugs_are_gone_nothing_of_them_is_left(
    buggy: tuple[Path, Any], study: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(buggy[0], folder)
    for module in BUGS:
        shutil.copy(study / "src/rep_kedro" / module, folder / "src/rep_kedro" / module)
    answer = run(folder)
    assert answer.returncode == 0, answer.stderr
    assert results_of(folder) == results_of(study)


def test_another_runner_is_refused(tmp_path: Path) -> None:
    answer = run(copy_project(tmp_path), "--keep-going", "--runner=ThreadRunner")
    assert answer.returncode == 2
    assert "--keep-going has a runner of its own: leave out --runner=ThreadRunner" in answer.stderr
