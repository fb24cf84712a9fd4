"""``kedro new-study`` writes a study of one's own, or says in one line why it does not."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from omegaconf import OmegaConf
from tests.project.conftest import ROOT
from tests.stimuli.trees import plant, shard_of

from rep_kedro.commands.new_study import choose_layers, command
from rep_kedro.features.listing import LayerRow
from rep_kedro.features.params import FeaturesParams
from rep_kedro.stimuli.params import IngestParams

NETWORK = ("--network", "torchvision/alexnet", "--random-weights")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that Kedro takes for the project."""
    folder = tmp_path / "project"
    (folder / "conf/base").mkdir(parents=True)
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    monkeypatch.chdir(folder)
    return folder


def call(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def written(project: Path, name: str = "mine") -> dict:
    return yaml.safe_load((project / "conf" / name / "parameters.yml").read_text())


def test_a_study_has_its_own_images_and_networks_alone(project: Path) -> None:
    photos = plant(
        project.parent / "my photos: 'best'", {f"{name}/{n}.png": n for name in "ab" for n in range(3)}
    )
    result = call("mine", "--images", photos, *NETWORK)
    assert result.output == "wrote conf/mine/parameters.yml; continue with: kedro run --env=mine\n"
    study = written(project)
    assert yaml.safe_load((project / "conf/mine/globals.yml").read_text()) == {"data": "data/mine"}
    base = yaml.safe_load((ROOT / "conf/base/parameters_ingest.yml").read_text())["ingest"]
    kept = {key: {**base[key], **study["ingest"][key]} for key in base}
    ingest = IngestParams.model_validate(kept)
    assert list(ingest.stimulus_sets) == ["my_images"]
    assert ingest.stimulus_sets["my_images"].path == photos
    assert ingest.stimulus_sets["my_images"].test_fraction == 0.3
    assert list(FeaturesParams.model_validate(study["features"]).entries()) == ["alexnet"]
    assert study["training"] == {"grids": []}


@pytest.mark.parametrize("folder", ["a\u2028b", "a\x85b", 'a "b" \\c', "\U0001f600 \xe9", "a\tb", "x " * 60])
def test_the_written_path_reads_back_as_it_is(project: Path, folder: str) -> None:
    photos = plant(project.parent / folder, {"a/1.png": 1, "b/2.png": 2})
    assert call("mine", "--images", photos, *NETWORK).exit_code == 0
    assert written(project)["ingest"]["stimulus_sets"]["my_images"]["path"] == str(photos)
    loaded = OmegaConf.load(project / "conf/mine/parameters.yml")
    assert loaded.ingest.stimulus_sets.my_images.path == str(photos)


@pytest.mark.parametrize(
    ("files", "source", "total"),
    [
        ({"train/a/1.png": 1, "val/a/2.png": 2}, "image_folder", {"train": 1000, "test": 500}),
        ({"test/a/1.png": 1}, "image_folder", {"test": 500}),
        ({"train/0.tar": shard_of(1), "test/0.tar": shard_of(2)}, "webdataset", {"train": 1000, "test": 500}),
    ],
)
def test_splits_of_its_own_are_kept(project: Path, files: dict, source: str, total: dict) -> None:
    call("mine", "--images", plant(project.parent / "photos", files), *NETWORK)
    ingest = written(project)["ingest"]
    assert ingest["stimulus_sets"]["my_images"].keys() == {"source", "path"}
    assert ingest["stimulus_sets"]["my_images"]["source"] == source
    assert ingest["stimulus_subsets"]["my_images"]["analysis"]["total"] == total


def test_images_of_a_test_split_alone_say_how_probes_get_training_images(project: Path) -> None:
    files = {f"test/{kind}/{number}.png": number for kind in "ab" for number in range(4)}
    call("mine", "--images", plant(project.parent / "photos", files), *NETWORK)
    text = (project / "conf/mine/parameters.yml").read_text()
    changed = text.replace("# splits: none", "splits: none").replace("# test_fraction", "test_fraction")
    entry = yaml.safe_load(changed)["ingest"]["stimulus_sets"]["my_images"]
    assert entry["splits"] == "none"
    assert IngestParams(stimulus_sets={"my_images": entry}).stimulus_sets["my_images"].test_fraction == 0.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("base", "--images", "photos"), "conf/base exists; choose another name, or remove it"),
        (("../evil", "--images", "photos"), "study '../evil': a name has small letters, digits"),
        (("Mine", "--images", "photos"), "study 'Mine': a name has small letters"),
        (
            ("m" * 65, "--images", "photos"),
            "study mmmmmmmmmmmmmmmmmmmm...: a name has at most 64 letters, got 65",
        ),
        (("all", "--images", "photos"), "study 'all': the name has a meaning of its own"),
        (("com1", "--images", "photos"), "study 'com1': the name has a meaning of its own"),
        (("mine", "--images", ""), "--images is empty; give a folder"),
        (
            ("mine", "--images", "~nobodyx/x"),
            "begins with ~nobodyx, but no home folder of such a user is known",
        ),
        (("mine", "--images", "a ${b} c"), "configuration takes '${' for a reference to another value"),
        (("mine", "--images", "nowhere"), "no file or folder at"),
        (("mine", "--images", "empty"), "no image in"),
        (("mine", "--images", "doubtful"), "could be splits or classes: train"),
        (("mine", "--images", "photos", "--network", "resnet18"), "--network resnet18: write LIBRARY/NAME"),
        (("mine", "--images", "photos", "--network", "timm/resnet19"), "resnet19"),
        (("mine", "--images", "photos", *NETWORK, *NETWORK), "--network torchvision/alexnet is given twice"),
        (("mine", "--images", "$NOT_SET/photos"), "names the environment variable NOT_SET, which is not set"),
    ],
)
def test_what_cannot_be_a_study_is_refused_in_one_line(project: Path, arguments: tuple, message: str) -> None:
    plant(project, {"photos/a/1.png": 1, "doubtful/train/1.png": 1, "doubtful/car/1.png": 2})
    (project / "empty").mkdir()
    result = call(*arguments)
    assert result.exit_code == 1
    assert result.output.startswith("error: ")
    assert message in result.output
    assert result.output.count("\n") == 1
    assert [folder.name for folder in (project / "conf").iterdir() if folder.is_dir()] in (
        ["base"],
        ["base", "local"],
        ["local", "base"],
    )


@pytest.mark.parametrize(
    ("sizes", "chosen"),
    [
        ({"stem": 1, "layer1": 9, "layer1.0": 9, "layer2": 9, "layer2.0": 9, "fc": 5}, ["layer1", "layer2"]),
        (
            {"blocks": 90, **{f"blocks.{n}": 9 for n in range(10)}, "fc": 5},
            [f"blocks.{n}" for n in (1, 4, 6, 9)],
        ),
        ({"features": 9, "features.0": 4, "features.3": 5}, ["features.0", "features.3"]),
        ({"only": 3}, ["only"]),
    ],
)
def test_layers_are_taken_from_all_of_the_depth(sizes: dict[str, int], chosen: list[str]) -> None:
    rows = [
        LayerRow(name, "Block", (5,) if name == "fc" else (8, 4, 4), size, None)
        for name, size in sizes.items()
    ]
    assert choose_layers(rows) == chosen
