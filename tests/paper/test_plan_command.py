"""kedro plan and kedro layers: what would be done, in seconds, without doing it."""

import pytest
from tests.small_study import ROOT, run_in

from rep_kedro.datasets import CollectionDataset, Planned, Tensors
from rep_kedro.features.estimate import estimate_networks, mean_seconds

pytestmark = pytest.mark.slow

FLOPS = {"net": 2_000_000, "twice": 4_000_000, "half": 1_000_000, "giant": 20_000_001}


def _kedro(*command):
    nowhere = {"REP_PAPER_DATA": "/nowhere", "REP_PAPER_WEIGHTS": "/nowhere"}
    return run_in(ROOT, "kedro", *command, check=False, **nowhere)


def _estimates(pending, seconds):
    found = estimate_networks(pending, seconds, width_of=len, flops_of=FLOPS.__getitem__)
    return {each.model: each for each in found}


def test_an_estimate_adds_up_what_is_pending():
    found = _estimates({"net": {"dots": 100, "spots": 40}, "twice": {}}, {"net": 0.5})
    assert list(found) == ["net"]
    assert (found["net"].n_pending, found["net"].n_stimuli) == (2, 140)
    assert (found["net"].n_bytes, found["net"].seconds) == (140 * 3 * 4, 70)


def test_a_network_never_read_takes_the_mean_time_per_operation_of_networks_of_its_size():
    pending = {"net": {"dots": 10}, "twice": {}, "half": {}, "giant": {"dots": 10}}
    found = _estimates(pending, {"twice": 4.0, "half": 3.0, "elsewhere": 1e9})
    assert found["net"].seconds == pytest.approx(10 * (4.0 / 2 + 3.0 * 2) / 2)
    assert found["giant"].seconds == pytest.approx(10 * 4.0 * 20_000_001 / 4_000_000)  # half is too small
    assert list(found) == ["giant", "net"]


def test_there_is_no_estimate_where_nothing_was_measured():
    assert _estimates({"net": {"dots": 1}}, {})["net"].seconds is None
    assert _estimates({"giant": {"dots": 1}, "net": {}}, {"net": 1.0})["giant"].seconds is None


def test_times_of_earlier_runs_are_shared_out_over_stimuli():
    journal = {
        ("dots/net", "x"): {"seconds": 3.0},
        ("spots/net", "y"): {"seconds": 1.0},
        ("gone/net", "z"): {"seconds": 99.0},
        ("dots/other", "x"): {"seconds": None},
    }
    assert mean_seconds(journal, {"dots": 10, "spots": 30}) == {"net": 0.1}


def test_a_collection_tells_what_is_pending_and_writes_nothing(tmp_path):
    collection = CollectionDataset(filepath=str(tmp_path / "c"), member="rep_kedro.datasets.TensorsDataset")
    plan = {key: Planned({"of": key}, lambda: Tensors({}, {})) for key in "abc"}
    assert collection.pending(plan) == ["a", "b", "c"]
    assert not (tmp_path / "c").exists()
    collection.save({"a": plan["a"], "b": plan["b"]})
    assert collection.pending({**plan, "b": Planned({"of": "else"}, plan["b"].compute)}) == ["b", "c"]


def test_the_plan_of_the_whole_study_computes_nothing(published):
    ended = _kedro("plan", "--env=paper")
    assert ended.returncode == 0, ended.stderr
    assert (
        "features: 1,472 members of 64 networks and 23 stimulus sets; 1,472 to compute, 0 kept"
        in ended.stdout
    )
    # 4 bytes for each of 179,147 images and the 84,480 numbers that the networks say of each
    assert "disk: 60.5 GB; time: no estimate yet" in ended.stdout
    assert {line.split()[0] for line in ended.stdout.splitlines()[1:65]} == set(published)
    assert not (ROOT / "data" / "paper").exists()


def test_groups_can_be_planned_from_the_command_line():
    ended = _kedro("plan", "--env=paper", "--by-set", "--params", "features.groups=places")
    assert "1,656 members of 72 networks and 23 stimulus sets" in ended.stdout
    assert "alexnet_places365" in ended.stdout
    assert ended.stdout.splitlines()[-1].split() == ["dtd", "1,880", "72"]


def test_layers_of_a_convolutional_network_are_listed_with_their_receptive_fields():
    ended = _kedro("layers", "resnet50", "--env=paper")
    rows = {line[3:].split()[0]: line for line in ended.stdout.splitlines()[1:]}
    assert rows["conv1"].split() == ["conv1", "Conv2d", "64", "x", "112", "x", "112", "9,408", "7"]
    assert rows["layer4"].split()[-1] == "427"  # 11 + 3*8 + 8 + 3*16 + 16 + 5*32 + 32 + 2*64
    assert rows["avgpool"].startswith("*")
    assert rows["fc"].split()[-2] == "2,049,000"
    assert "1 read (*)" in ended.stderr


def test_layers_behind_attention_see_the_image_and_windows_of_attention_a_part_of_it():
    ended = _kedro("layers", "vit_base_patch16_224", "--env=paper")
    (row,) = [line for line in ended.stdout.splitlines() if line.split()[:2] == ["*", "norm"]]
    assert row.split()[2:] == ["LayerNorm", "197", "x", "768", "1,536", "224"]
    ended = _kedro("layers", "swin_base_patch4_window7_224", "--env=paper")
    rows = {line.split()[0]: line.split() for line in ended.stdout.splitlines() if line.startswith(" ")}
    assert rows["patch_embed.proj"][-1] == "4"
    assert rows["layers.0.blocks.0"][-1] == "28"  # windows of 7 patches of 4 px
    assert int(rows["layers.3"][-1]) > 224


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ("layers", "resnet51", "--env=paper"),
            "'resnet51'; did you mean 'resnet51q' or 'resnet50'",
        ),
        (("plan", "--env=paper", "--params", "features.groups=plces"), "unknown group 'plces'"),
        (
            ("plan", "--env=paper", "--params", "features.stimulus_sets=[cifar11]"),
            "states no sizes of cifar11",
        ),
    ],
)
def test_mistakes_are_reported_in_one_line(command, message):
    ended = _kedro(*command)
    assert ended.returncode == 1
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
