"""kedro run --dry-run: what would be computed and kept, and not a byte is written."""

import io
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from safetensors.torch import save_file
from tests.project.conftest import BIN, ROOT, copy_project, run_shared

from rep_kedro.models.architecture_files import load_architecture
from rep_kedro.models.building import build_network


def _state(study: Path) -> dict[Path, tuple[int, int]]:
    files = [path for path in (study / "data").rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


def _rows(said: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in said.split("\n\n", maxsplit=1)[0].splitlines()[1:]}


def test_where_all_is_there_nothing_would_be_computed(study: Path) -> None:
    before = _state(study)
    said = run_shared(study, "kedro", "run", "--dry-run", "--env=test").stdout
    rows = _rows(said)
    assert {
        "stimulus_sets",
        "networks",
        "features",
        "similarity_matrices",
        "probes",
        "stitches",
    } <= rows.keys()
    assert {row[0] for row in rows.values()} == {"0"}
    assert rows["networks"][:2] == ["0", "4"]
    assert rows["features"][:2] == ["0", "12"]
    kept = next(line for line in said.splitlines() if line.startswith("tables and pages to keep: "))
    assert {"model_cards", "consistency", "model_positions", "report"} <= {
        name.strip() for name in kept.partition(":")[2].split(",")
    }
    assert "tables and pages to compute" not in said
    assert "that follow from what changes" not in said
    assert said.splitlines()[-1] == "nothing was computed or written (--dry-run)"
    assert _state(study) == before


def test_what_is_gone_would_be_computed_and_what_follows_has_a_bound(own_study: Path) -> None:
    (own_study / "data/test/04_feature/features/digits/cnn_simclr_s0.safetensors").unlink()
    before = _state(own_study)
    said = run_shared(own_study, "kedro", "run", "--dry-run", "--env=test").stdout
    rows = _rows(said)
    assert rows["features"][:2] == ["1", "11"]
    assert rows["networks"][0] == "0"
    assert "probes: follows from features" in said
    follows = next(line for line in said.splitlines() if line.startswith("tables and pages that follow"))
    assert "similarities" in follows
    assert "training_history" not in follows
    assert "12 members of 4 networks and 3 stimulus sets; 1 to compute, 11 kept" in said
    assert _state(own_study) == before


def test_options_of_a_run_choose_what_is_shown(own_study: Path) -> None:
    asked = ("kedro", "run", "--dry-run", "--env=test")
    said = run_shared(own_study, *asked, "--pipelines=features", "--params=features.batch_size=7").stdout
    assert list(_rows(said)) == ["dissimilarities", "features"]
    assert _rows(said)["features"][:2] == ["0", "12"]
    said = run_shared(own_study, *asked, "--nodes=features", "--params=recompute=features/digits/*").stdout
    assert _rows(said)["features"][:2] == ["4", "8"]
    shutil.rmtree(own_study / "data/test/04_feature/features")
    said = run_shared(own_study, *asked, "--pipelines=features", "--params=shard=1/4").stdout
    assert _rows(said)["features"][:2] == ["3", "0"]


def test_an_input_that_is_not_there_is_named(own_study: Path) -> None:
    shutil.rmtree(own_study / "data/test/04_feature/features")
    said = run_shared(own_study, "kedro", "run", "--dry-run", "--env=test", "--pipelines=probing").stdout
    assert "probes: needs features, which is not there" in said


def test_a_first_study_of_files_is_listed_before_and_after_its_images_are_there(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    models = {}
    for seed in (0, 1):
        network = build_network(load_architecture("cnn"), n_classes=10, seed=seed)
        state = {name: value.contiguous() for name, value in network.state_dict().items()}
        save_file(state, tmp_path / f"{seed}.safetensors")
        models[f"net{seed}"] = {
            "source": "checkpoint", "architecture": "cnn", "n_classes": 10, "trained_on": "digits",
            "path": str(tmp_path / f"{seed}.safetensors"),
        }  # fmt: skip
    local = {"training": {"grids": []}, "features": {"models": models}}
    (project / "conf/local/parameters.yml").write_text(yaml.safe_dump(local))
    asked = ("kedro", "run", "--pipelines=ingest,training,features,stitching", "--dry-run")
    first = run_shared(project, *asked)
    rows = _rows(first.stdout)
    assert rows["stimulus_sets"][0] == "3"
    assert rows["features"][:2] == ["<=", "6"]
    assert rows["stitches"][:2] == ["<=", "2"]
    assert "networks: follows" not in first.stdout
    assert "stitched" not in first.stdout + first.stderr
    assert "nothing to stitch" not in first.stdout + first.stderr
    run_shared(project, "kedro", "run", "--pipelines=ingest")
    said = run_shared(project, *asked).stdout
    assert "run the ingest pipeline first" not in said
    assert _rows(said)["features"][:4] == ["6", "0", "190.1", "kB"]
    assert "disk: 190.1 kB; time: no estimate yet" in said
    assert _rows(said)["stitches"][:2] == ["2", "0"]


def test_a_mistake_is_refused_as_by_a_run(study: Path) -> None:
    ended = run_shared(study, "kedro", "run", "--dry-run", "--env=test", "--nodes=featurs", check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: unknown node 'featurs' here; did you mean 'features'")
    params = "--params=probing.stimulus_sets=[digits],probing.min_classes=50"
    asked = ("kedro", "run", "--dry-run", "--env=test", "--pipelines=probing", params)
    ended = run_shared(study, *asked, check=False)
    assert ended.returncode == 1
    assert "error: probes: stimulus set 'digits' cannot be probed: 10 classes with a label" in ended.stderr


@pytest.mark.slow
def test_the_whole_study_of_the_paper_is_planned_without_its_data() -> None:
    environment = {**os.environ, "REP_PAPER_DATA": "/nowhere", "REP_PAPER_WEIGHTS": "/nowhere"}
    ended = subprocess.run(
        [str(BIN / "kedro"), "run", "--dry-run", "--env=paper"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "stimulus_sets: not all can be planned now: stimulus set 'imagenet1k': no file" in ended.stdout
    assert "1,472 members of 64 networks and 23 stimulus sets; 1,472 to compute, 0 kept" in ended.stdout
    assert "disk: 60.5 GB; time: no estimate yet" in ended.stdout
    assert not (ROOT / "data" / "paper").exists()


def _make_files(folder: Path, environment: str) -> None:
    """Write the images and networks that an environment names below REP_DATA, of random numbers."""
    conf = ROOT / "conf" / environment

    def place(path: str) -> Path:
        found = Path(path.replace("$REP_DATA", str(folder)))
        found.parent.mkdir(parents=True, exist_ok=True)
        return found

    image = io.BytesIO()
    Image.new("RGB", (32, 32)).save(image, "PNG")
    ingest = yaml.safe_load((conf / "parameters_ingest.yml").read_text())["ingest"]
    splits = ingest["stimulus_sets"]["cifar10"]["splits"]
    table = pa.table({"image": [{"bytes": image.getvalue(), "path": ""}] * 10, "label": list(range(10))})
    for path in [*splits["train"], splits["test"]]:
        pq.write_table(table, place(path))
    features = yaml.safe_load((conf / "parameters_features.yml").read_text())["features"]
    for entry in features["models"].values():
        network = build_network(load_architecture(entry["architecture"]), n_classes=10, seed=0)
        prefix = entry.get("prefix", "")
        state = {f"{prefix}{name}": x.contiguous() for name, x in network.state_dict().items()}
        save_file(state, place(entry["path"]))


@pytest.mark.slow
def test_the_study_of_stitching_is_planned_with_files_of_its_form(tmp_path: Path) -> None:
    _make_files(tmp_path, "stitching_paper")
    said = run_shared(ROOT, "kedro", "run", "--dry-run", "--env=stitching_paper", REP_DATA=str(tmp_path))
    rows = _rows(said.stdout)
    assert rows["stimulus_sets"][0] == "1"
    assert rows["networks"][:2] == ["<=", "10"]  # a ResNet-20 of five widths and two seeds
    assert rows["features"][:2] == ["<=", "25"]  # and 15 published networks
    assert "stitches: follows from networks" in said.stdout
    assert said.stdout.splitlines()[-1] == "nothing was computed or written (--dry-run)"


def test_members_that_will_fail_are_named_at_the_end_with_the_reason(own_study: Path) -> None:
    one_sided = np.zeros((90, 90))
    one_sided[0, 1] = 1.0
    files = {"raters": one_sided, "brain": np.ones((5, 3))}
    models = {}
    for name, source in (("raters", "dissimilarities"), ("brain", "features")):
        np.save(own_study / f"{name}.npy", files[name])
        place = {"path": str(own_study / f"{name}.npy"), "row_order": "shown"}
        models[name] = {"source": source, "files": {"digits": place}}
    parameters = own_study / "conf/test/parameters.yml"
    study = yaml.safe_load(parameters.read_text())
    study.setdefault("features", {})["models"] = models
    parameters.write_text(yaml.safe_dump(study))
    said = run_shared(own_study, "kedro", "run", "--dry-run", "--env=test", "--pipelines=features").stdout
    raters, brain = sorted(line for line in said.splitlines() if line.startswith("will fail: "))
    assert raters.startswith("will fail: dissimilarities digits/raters: file of features")
    assert "is not symmetric: entries differ from their mirror image by up to 1" in raters
    assert brain.startswith("will fail: features digits/brain: features.models.brain: file of features")
    assert "it has 5 rows, but row_order: shown means the 90 stimuli of digits" in brain
