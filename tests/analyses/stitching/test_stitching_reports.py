"""Reports of stitches: two pages, the same bytes each time, of the maps that ask for one."""

import re

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from tests.small_collections import (
    ARROW,
    TENSORS,
    make_network,
    make_stimuli,
    run_plan,
    store,
    store_networks,
)

from rep_kedro.analyses.stitching.params import StitchingParams
from rep_kedro.datasets import CollectionDataset, DamagedMemberError, Plan, Planned
from rep_kedro.datasets.partial import Handles
from rep_kedro.models.study import FeaturesParams
from rep_kedro.pipelines.stitching.nodes import plan_stitch_reports, plan_stitches
from rep_kedro.reporting.stitching.document import StitchFacts, draw_report

DOCUMENT = "rep_kedro.datasets.DocumentDataset"
MAPS = {
    "ps_inv": {"fit": "least_squares"},
    "frank": {"fit": "task", "epochs": 1, "batch_size": 8, "mask": "semi-match"},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    pixels = np.random.default_rng(0).integers(0, 256, (28, 16, 16, 3), dtype=np.uint8)
    table = make_stimuli(pixels, [i % 3 for i in range(28)], ["train"] * 16 + ["test"] * 12, ["a", "b", "c"])
    networks = {f"cnn_s{s}": make_network("cnn", seed=s, n_classes=3, stimulus_set="noise") for s in (0, 1)}
    networks["cnn_s0"].meta["history"] = [{"epoch": e, "test_accuracy": 0.1 * e} for e in (1, 2)]
    handles = store_networks(folder / "networks", networks)
    joints = [{"fronts": ["cnn_s0"], "ends": ["cnn_s1"], "layers": ["relu3"]}]
    params = StitchingParams.model_validate({"maps": MAPS, "joints": joints, "reports": ["frank"]})
    sets = store(folder / "sets", {"noise": table}, ARROW)
    stitches = run_plan(folder / "stitches", plan_stitches(sets, {}, handles, FeaturesParams(), params))
    return stitches, handles, params


def test_a_report_has_two_pages_and_the_same_bytes_each_time(study, tmp_path):
    first, again = (
        run_plan(tmp_path / name, plan_stitch_reports(*study), DOCUMENT) for name in ("first", "again")
    )
    [key] = first
    assert key == "noise/cnn_s0-to-cnn_s1/frank/relu3-s0"
    content = first[key].pdf()
    assert content == again[key].pdf()
    assert len(re.findall(rb"/Type /Page\b", content)) == 2
    assert b"CreationDate" not in content
    assert first[key].recipe["stitch"] == study[0]["noise/cnn_s0-to-cnn_s1/frank"].reference


def test_a_flipped_bit_is_found(study, tmp_path):
    [handle] = run_plan(tmp_path / "out", plan_stitch_reports(*study), DOCUMENT).values()
    content = bytearray(handle.path.read_bytes())
    content[len(content) // 2] ^= 1
    handle.path.write_bytes(bytes(content))
    with pytest.raises(DamagedMemberError, match="content is not what was written"):
        handle.pdf()


@pytest.mark.parametrize("is_left_out", [False, True])
def test_reports_of_stitches_that_are_not_there_yet_are_foreseen(study, tmp_path, is_left_out):
    stitches, networks, params = study
    collection = CollectionDataset(filepath=str(tmp_path / "none"), member=TENSORS)
    key = "noise/cnn_s0-to-cnn_s1/frank"
    recipe = {
        **stitches[key].recipe,
        "layers": [["relu2", "relu2", 1, 1, False], ["relu3", "a/b", 2, 2, True]],
    }
    left_out = Plan()
    left_out.left_out, left_out.foreseen = {key: "no images"}, {key: {"layers": recipe["layers"]}}
    collection.expect(
        left_out if is_left_out else {key: Planned(recipe, dict), "other/ps_inv": Planned({}, dict)}
    )
    two = StitchingParams.model_validate(
        {**params.model_dump(), "maps": {**MAPS, "frank": {"seeds": [0, 7]}}}
    )
    plan = plan_stitch_reports(collection.load_partial(), networks, two)
    assert not plan
    assert list(plan.left_out) == [
        f"{key}/{place}"
        for place in ("relu2-s0", "relu2-s7", "relu3-to-a.b@flatten-s0", "relu3-to-a.b@flatten-s7")
    ]
    assert set(plan.left_out.values()) == {f"stitches/{key} is missing"}
    unknown = plan_stitch_reports(Handles({}, {key: "its loss is not finite"}, {}), networks, params)
    assert unknown.left_out == {key: f"stitches/{key} is missing"}


def test_long_names_and_extreme_matrices_stay_on_their_page():
    name = "resnet50_supervised_strong_augmentation_of_all_kinds_s0"
    facts = StitchFacts(
        title=f"{name} to {name}\nat layers.11.attention.output.dense-to-layers.11.mlp, map frank, seed 0",
        matrices={"the map": np.ones((2, 300)), "mask": np.eye(300, 2, dtype=bool)},
        row={"n_test": 12},
        baseline={},
        losses=np.ones(3),
        histories={name: [(1, 0.5)]},
        recipe={"layers": [["layers.11.attention.output.dense"] * 2] * 20},
        command="kedro run " * 40,
    )
    for page in draw_report(facts):
        width, height = FigureCanvasAgg(page).get_width_height()
        page.canvas.draw()
        texts = [text for text in page.findobj(Text) if text.get_text() and text.get_visible()]
        for box in (text.get_window_extent() for text in texts):
            assert (box.x0, box.y0) > (0, 0)
            assert box.x1 < width
            assert box.y1 < height


def test_without_a_map_that_asks_for_one_there_is_none(study):
    stitches, networks, params = study
    assert not plan_stitch_reports(stitches, networks, params.model_copy(update={"reports": []}))
