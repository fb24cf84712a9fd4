"""The project's own commands, as a user calls them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.project.conftest import ROOT, copy_project, run_shared

HEAVY = ("torch", "pandas", "pyarrow", "matplotlib", "timm", "sklearn", "scipy")


@pytest.mark.slow
def test_verify_reads_every_artifact_to_its_end(own_study: Path) -> None:
    shown = run_shared(own_study, "kedro", "verify", "--env=test")
    assert "networks: 4 members" in shown.stdout
    assert shown.stderr == ""
    _spoil(own_study)
    shown = run_shared(own_study, "kedro", "verify", "--env=test", check=False)
    assert shown.returncode == 1
    assert re.search(
        r"^features: digits/cnn_simclr_s0: \w+ holds 1 of \d+ values that are NaN", shown.stderr, re.M
    )
    assert "similarities has not been made yet" in shown.stderr
    assert "cnn_simclr_s0.safetensors is truncated" in shown.stderr
    last = shown.stderr.splitlines()[-1]
    assert re.match(
        r"error: 3 of \d+ artifacts are not as they should be; kedro run makes what is missing", last
    )


def _spoil(study: Path) -> None:
    """Put a NaN into one member, cut off the end of another, and remove a table."""
    from rep_kedro.datasets import Tensors, TensorsDataset

    features = study / "data/test/04_feature/features/digits/cnn_simclr_s0.safetensors"
    handle = TensorsDataset.open_checked(features)
    tensors = {name: handle.tensor(name).copy() for name in handle.names}
    next(iter(tensors.values()))[3, 0] = float("nan")
    written = TensorsDataset(filepath=str(features), key=handle.key, recipe=handle.recipe)
    written.save(Tensors(tensors, dict(handle.meta)))
    network = study / "data/test/06_models/networks/cnn_simclr_s0.safetensors"
    network.write_bytes(network.read_bytes()[:-10])
    (study / "data/test/07_model_output/similarities.parquet").unlink()


@pytest.mark.slow
def test_verify_finds_one_flipped_bit(own_study: Path) -> None:
    path = own_study / "data/test/04_feature/features/digits/cnn_simclr_s0.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    shown = run_shared(own_study, "kedro", "verify", "--env=test", check=False)
    assert shown.returncode == 1
    assert "cnn_simclr_s0.safetensors is damaged: its content is not what was written" in shown.stderr
    assert shown.stderr.splitlines()[-1].startswith("error: 1 of ")


def test_prune_removes_what_is_not_planned_and_nothing_else(own_study: Path) -> None:
    networks = own_study / "data/test/06_models/networks"
    extra, note = networks / "cnn_simclr_s9.safetensors", networks / "note.txt"
    shutil.copy(networks / "cnn_simclr_s0.safetensors", extra)
    note.write_text("mine")
    before = {path for path in (own_study / "data").rglob("*") if path.is_file()}
    shown = run_shared(own_study, "kedro", "prune", "--env=test")
    assert shown.stdout.split() == ["data/test/06_models/networks/cnn_simclr_s9.safetensors"]
    assert shown.stderr.startswith("1 members that are not planned, ")
    assert extra.exists()
    run_shared(own_study, "kedro", "prune", "--env=test", "--yes")
    after = {path for path in (own_study / "data").rglob("*") if path.is_file()}
    assert before - after == {extra}
    assert "nothing to remove" in run_shared(own_study, "kedro", "prune", "--env=test").stderr


def test_prune_removes_nothing_without_a_plan_to_go_by(own_study: Path) -> None:
    networks = own_study / "data/test/06_models/networks"
    (networks / "plan.json").write_text("{broken")
    shown = run_shared(own_study, "kedro", "prune", "--env=test", "--yes", check=False)
    assert shown.returncode == 1
    assert "plan.json is not a plan written by this project" in shown.stderr
    assert len(list(networks.glob("*.safetensors"))) == 4


def test_measures_lists_each_with_range_and_source_and_loads_nothing_heavy() -> None:
    shown = run_shared(ROOT, "kedro", "measures", "--family=cka")
    row = next(line for line in shown.stdout.splitlines() if line.startswith("cka_linear_debiased "))
    assert row.split()[1:5] == ["-1", "to", "1", "similarity"]
    assert "CKA (linear, debiased)" in row
    assert "arXiv:1905.00414" in shown.stdout
    mistake = run_shared(ROOT, "kedro", "measures", "--family=ckaa", check=False)
    assert mistake.returncode == 1
    assert mistake.stderr.startswith("error: unknown family 'ckaa'; known: alignment, cka, ")


def test_listing_pipelines_and_help_import_nothing_heavy() -> None:
    for arguments in (["registry", "list"], ["run", "--help"], ["measures"]):
        code = (
            "import sys\nfrom kedro.framework.cli.cli import main\n"
            f"sys.argv = ['kedro', *{arguments}]\n"
            "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
            f"print('loaded:', [name for name in {HEAVY} if name in sys.modules])"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert ended.stdout.splitlines()[-1] == "loaded: []"


def test_the_help_lists_every_command_once() -> None:
    shown = run_shared(ROOT, "kedro", "--help").stdout
    listed = [line.split()[0] for line in shown.splitlines() if re.match(r"  [a-z-]+  ", line)]
    assert "run" in listed
    assert "verify" in listed
    assert len(listed) == len(set(listed))
    assert "Run the pipelines, or those of --pipelines" in shown


@pytest.mark.slow
def test_commands_mean_the_same_in_every_folder_of_the_project(own_study: Path) -> None:
    folder = own_study / "src" / "rep_kedro"
    shown = run_shared(folder, "kedro", "run", "--env=test", "--pipelines=ingest").stderr
    assert "nothing computed: 6 members and 1 single file kept" in shown
    assert "networks: 4 members" in run_shared(folder, "kedro", "verify", "--env=test").stdout
    assert not (folder / "data").exists()


def test_the_summary_says_what_was_computed_and_where_the_report_is(own_study: Path) -> None:
    shutil.rmtree(own_study / "data/test/07_model_output/stitches")
    shown = run_shared(own_study, "kedro", "run", "--env=test").stderr
    summary, nodes, report = shown.splitlines()[-3:]
    assert "networks 4 kept" in summary
    assert "stitches 2 computed" in summary
    assert re.search(r"\d+ nodes in .* s, peak memory \d+ MB", nodes)
    assert report.endswith("report: data/test/08_reporting/report.html")


@pytest.mark.slow
def test_a_shard_works_on_its_part_and_on_nothing_that_needs_the_whole(own_study: Path) -> None:
    features = own_study / "data/test/04_feature/features"
    shutil.rmtree(features)
    cards = (own_study / "data/test/04_feature/model_cards.parquet").stat().st_mtime_ns
    for part in (1, 2):
        shown = run_shared(
            own_study, "kedro", "run", "--env=test", "--pipelines=features,similarity",
            f"--params=shard={part}/2",
        ).stderr  # fmt: skip
        assert f"shard {part}/2 of dissimilarities, features; what may need it whole is left out" in shown
        assert "features 6 computed" in shown
    assert len(list(features.rglob("*.safetensors"))) == 12
    assert (own_study / "data/test/04_feature/model_cards.parquet").stat().st_mtime_ns == cards


@pytest.mark.slow
def test_a_default_stimulus_set_can_be_dropped_and_one_of_each_is_enough(tmp_path: Path) -> None:
    folder = copy_project(tmp_path)
    (folder / "conf/test/parameters_mine.yml").write_text(
        "consistency: {n_permutations: 50}\nfeatures: {networks: [cnn_supervised_s0]}\n"
    )
    parameters = folder / "conf/test/parameters.yml"
    text = parameters.read_text()
    text = re.sub(
        r"^    photograph_patches: \{.*$", "    photograph_patches: null", text, count=1, flags=re.M
    )
    text = re.sub(r"^    shapes: \{.*$", "    shapes: null", text, count=1, flags=re.M)
    parameters.write_text(text.replace("seeds: [0, 1]", "seeds: [0]"))
    shown = run_shared(folder, "kedro", "run", "--env=test").stderr
    assert "stimulus_sets 1 computed" in shown
    assert "nothing to stitch" in shown
    assert (folder / "data/test/08_reporting/report.html").exists()
