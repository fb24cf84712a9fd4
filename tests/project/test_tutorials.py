"""The tutorials do what they say: their YAML runs as written."""

import os
import re
import shlex
import tarfile
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from tests.small_study import ROOT, copy_project, run_shared

from rep_kedro.analyses.layer_similarity.params import LayerSimilarityParams

TUTORIALS = ROOT / "docs" / "tutorials"


def blocks_of(page: str, language: str) -> list[str]:
    """Return the blocks of a tutorial in one language, in their order."""
    text = (TUTORIALS / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"(?s)```{language}\n(.*?)```", text)


def yaml_blocks(page: str) -> list[str]:
    """Return the YAML blocks of a tutorial in their order."""
    return blocks_of(page, "yaml")


@pytest.mark.slow
def test_two_models_are_compared_as_the_tutorial_says(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    (study,) = yaml_blocks("compare-two-models")
    (project / "conf/two").mkdir()
    (project / "conf/two/parameters.yml").write_text(study, encoding="utf-8")
    assert "similarity_matrices" in run_shared(project, "kedro", "run", "--env=two", "--dry-run").stdout
    run_shared(project, "kedro", "run", "--env=two")
    similarities = pd.read_parquet(project / "data/07_model_output/similarities.parquet")
    pairs = set(zip(similarities["model_a"], similarities["model_b"], strict=True))
    assert pairs == {("resnet18", "vit_tiny")}
    assert set(similarities["stimulus_set"]) == {"digits"}
    assert similarities["similarity"].notna().all()
    assert (project / "data/08_reporting/report.html").exists()


def test_own_images_are_read_as_the_tutorial_says(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    for label, colour in (("cat", 60), ("dog", 200)):
        folder = tmp_path / "home/photos" / label
        folder.mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (20, 20), (colour, number, 0)).save(folder / f"{number:03}.png")
    (block,) = yaml_blocks("own-images")
    entry = yaml.safe_load(block)["ingest"]["stimulus_sets"]["my_photos"]
    assert entry["path"] == "~/photos"
    entry["path"] = str(tmp_path / "home/photos")
    others = {"digits": None, "photograph_patches": None, "shapes": None}
    local = {"ingest": {"stimulus_sets": {**others, "my_photos": entry}, "stimulus_subsets": others}}
    (project / "conf/local/parameters.yml").write_text(yaml.safe_dump(local), encoding="utf-8")
    run_shared(project, "kedro", "run", "--pipelines=ingest")
    cards = project / "data/03_primary/stimulus_cards.parquet"
    card = pd.read_parquet(cards).set_index("stimulus_set").loc["my_photos"]
    assert (card["n_stimuli"], card["n_train"], card["n_test"], card["n_classes"]) == (8, 6, 2, 2)


@pytest.mark.slow
def test_own_code_and_features_are_compared_as_the_tutorial_says(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    page = (TUTORIALS / "own-code-and-features.md").read_text(encoding="utf-8")
    network, writing = re.findall(r"(?s)```python\n(.*?)```", page)
    (study,) = yaml_blocks("own-code-and-features")
    commands = re.findall(r"(?m)^\$ (kedro .*)$", page)
    (project / "my_net.py").write_text(network, encoding="utf-8")
    (project / "conf/own").mkdir()
    (project / "conf/own/parameters.yml").write_text(study, encoding="utf-8")
    listing, ingest, comparison = (command.split() for command in commands)
    assert "block2.0" in run_shared(project, *listing).stdout
    run_shared(project, *ingest)
    run_shared(project, "python", "-c", writing)
    run_shared(project, *comparison)
    found = pd.read_parquet(project / "data/07_model_output/similarities.parquet").set_index("measure")
    assert set(found.index) == {"cka_linear_debiased", "rsa_correlation_spearman"}
    assert {*zip(found["model_a"], found["model_b"], strict=True)} == {("judgements", "my_net")}
    assert (found["similarity"] > 0).all()
    cards = pd.read_parquet(project / "data/04_feature/model_cards.parquet").set_index("model")
    assert cards["feature_width"].to_dict() == {"judgements": 10, "my_net": 16}
    study = study.replace("allow_code: true", "allow_code: false")
    (project / "conf/own/parameters.yml").write_text(study, encoding="utf-8")
    refused = run_shared(project, *comparison, check=False)
    assert refused.returncode == 1
    assert "my_net (my_net.py:MyNet) would run Python code" in refused.stderr
    assert "features.allow_code: true" in refused.stderr


def test_the_network_of_the_tutorial_is_listed(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    (block,) = yaml_blocks("own-network")
    study = yaml.safe_load(block)
    study["features"]["models"]["my_net"]["pretrained"] = False  # no network here
    (project / "conf/local/parameters.yml").write_text(yaml.safe_dump(study), encoding="utf-8")
    layers = run_shared(project, "kedro", "layers", "my_net").stdout
    for name in study["features"]["models"]["my_net"]["layers"]:
        assert name in layers


def take_photos(folder: Path) -> Path:
    """Return a folder with a few photographs of clothes by class, or with drawn ones where there are none."""
    shards = Path(os.environ.get("REP_DATA", "nowhere"), "core/wds/clothing/test/0.tar")
    if shards.is_file():
        with tarfile.open(shards) as archive:
            members = {name: archive.extractfile(name).read() for name in archive.getnames()[:80]}
        for name in (name for name in members if name.endswith(".jpg")):
            place = folder / members[name.replace(".jpg", ".cls")].decode().strip() / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(members[name])
        return folder
    rng = np.random.default_rng(0)
    for number in range(40):
        place = folder / f"{number % 4}" / f"{number:07}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 120, (64, 48, 3)) + 40 * (number % 4)
        Image.fromarray(pixels.astype(np.uint8)).save(place)
    return folder


@pytest.mark.slow
def test_a_study_of_ones_own_runs_as_the_tutorial_says(tmp_path: Path) -> None:
    project, home = copy_project(tmp_path / "project"), tmp_path / "home"
    photos = sorted(take_photos(home / "photos").rglob("*.*"))
    rows = [f"{photo.name},{photo.parent.name},{number % 2}" for number, photo in enumerate(photos)]
    (home / "labels.csv").write_text("\n".join(["filename,garment,part", *rows]), encoding="utf-8")
    page = (TUTORIALS / "first-study.md").read_text(encoding="utf-8")
    new, dry_run, run = (shlex.split(line) for line in re.findall(r"(?m)^\$ (.*)", page))
    run_shared(project, *new, "--random-weights", HOME=str(home))
    file = project / "conf/mine/parameters.yml"
    study = yaml.safe_load(file.read_text())
    (block,) = map(yaml.safe_load, yaml_blocks("first-study"))
    study["ingest"]["stimulus_sets"]["my_images"] |= block["ingest"]["stimulus_sets"]["my_images"]
    file.write_text(yaml.safe_dump({**study, "probing": block["probing"]}), encoding="utf-8")
    assert dry_run == [*run, "--dry-run"]
    run_shared(project, *run, HOME=str(home))
    data = project / "data/mine"
    similarities = pd.read_parquet(data / "07_model_output/similarities.parquet")
    assert set(similarities["stimulus_set"]) == {"my_images"}
    assert set(zip(similarities["model_a"], similarities["model_b"], strict=True)) == {
        ("resnet18", "vit_tiny_patch16_224")
    }
    assert similarities["similarity"].notna().all()
    probes = pd.read_parquet(data / "07_model_output/probe_results.parquet")
    assert (set(probes["label"]), set(probes["n_classes"])) == ({"part"}, {2})
    assert (data / "08_reporting/report.html").exists()


def test_layers_are_compared_as_the_tutorial_says() -> None:
    mpl.use("agg")
    names: dict[str, Any] = {}
    for block in blocks_of("compare-layers", "python"):
        exec(block, names)  # noqa: S102 - our own page
    assert names["found"].values.shape == (6, 6)
    assert names["streamed"].n_batches == 2
    (block,) = yaml_blocks("compare-layers")
    params = LayerSimilarityParams.model_validate(yaml.safe_load(block)["layer_similarity"])
    assert (params.models, params.compare) == ("all", "between")
