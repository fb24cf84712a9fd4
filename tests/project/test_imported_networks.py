"""A study of imported networks alone: nothing is trained, and the report says what is missing for it."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from tests.project.conftest import copy_project, run_shared

pytestmark = pytest.mark.slow

NETWORKS = {
    "test_resnet": ["layer2", "layer4"],
    "test_vit": ["blocks.1", "norm"],
    "test_efficientnet": ["blocks.1", "global_pool"],
}
CLASSES = ("bright", "dark", "middle")


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose local configuration has one folder of images and three networks with drawn weights."""
    project = copy_project(tmp_path_factory.mktemp("imported"))
    draws = np.random.default_rng(0)
    for split, n_images in (("train", 8), ("test", 4)):
        for level, name in enumerate(CLASSES):
            folder = project / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(n_images):
                pixels = draws.integers(60 * level, 60 * level + 90, (24, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    content = {
        "ingest": {
            "stimulus_sets": {
                **dict.fromkeys(["digits", "photograph_patches", "shapes"]),
                "photos": {"source": "image_folder", "path": "photos"},
            }
        },
        "training": {"grids": []},
        "features": {
            "models": {
                name: {"source": "timm", "name": name, "pretrained": False, "layers": layers}
                for name, layers in NETWORKS.items()
            }
        },
        "consistency": {"n_bootstrap": 40, "n_permutations": 19},
        "similarity_inference": {"n_bootstrap": 40, "n_permutations": 19},
    }
    (project / "conf/local/parameters.yml").write_text(yaml.safe_dump(content))
    return project


def test_the_layers_of_a_network_are_listed_before_anything_was_run(imported: Path) -> None:
    listed = run_shared(imported, "kedro", "layers", "test_vit")
    assert re.search(r"^\* +blocks\.1 +Block ", listed.stdout, re.MULTILINE)


def test_a_study_that_trains_no_network_runs_to_its_report(imported: Path) -> None:
    ended = run_shared(imported, "kedro", "run")
    assert "training.grids is empty: no network is trained here" in ended.stdout + ended.stderr
    assert sorted(path.stem for path in (imported / "data/04_feature/features/photos").iterdir()) == sorted(
        NETWORKS
    )
    report = (imported / "data/08_reporting/report.html").read_text()
    words = " ".join(re.sub("<[^>]+>", " ", report).split())
    assert "3 networks on 1 stimulus set (photos)" in words
    assert "Best read-out: " in words or "read out" in words
    for absent in (
        "This run trained no networks, or kept no history.",
        "This run stitched no networks (stitching.joints).",
        "The table consistency is empty: it needs two stimulus sets, and this run has 1 stimulus set.",
    ):
        assert absent in words
    verified = run_shared(imported, "kedro", "verify")
    assert "networks: 0 members" in verified.stdout


def test_an_anchor_that_the_study_names_itself_must_be_one_of_its_networks(imported: Path) -> None:
    ended = run_shared(imported, "kedro", "run", "--params", "consistency.anchors=[test_vt]", check=False)
    assert ended.returncode == 1
    assert "'test_vt' is not a network of this study; did you mean 'test_vit'" in ended.stderr
