"""The tutorials do what they say: their YAML runs as written."""

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import pytest
import yaml
from PIL import Image
from tests.small_study import ROOT, copy_project, run_in

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
    assert "similarity_matrices" in run_in(project, "kedro", "run", "--env=two", "--dry-run").stdout
    run_in(project, "kedro", "run", "--env=two")
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
    run_in(project, "kedro", "run", "--pipelines=ingest")
    cards = project / "data/03_primary/stimulus_cards.parquet"
    card = pd.read_parquet(cards).set_index("stimulus_set").loc["my_photos"]
    assert (card["n_stimuli"], card["n_train"], card["n_test"], card["n_classes"]) == (8, 6, 2, 2)


def test_the_network_of_the_tutorial_is_listed(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    (block,) = yaml_blocks("own-network")
    study = yaml.safe_load(block)
    study["features"]["models"]["my_net"]["pretrained"] = False  # no network here
    (project / "conf/local/parameters.yml").write_text(yaml.safe_dump(study), encoding="utf-8")
    layers = run_in(project, "kedro", "layers", "my_net").stdout
    for name in study["features"]["models"]["my_net"]["layers"]:
        assert name in layers


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
