"""Sets made of other sets: the same stimuli, changed by written-out rules, by the seed and the id alone."""

import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from tests.small_collections import ARROW, run_plan

from rep_kedro.errors import UserError
from rep_kedro.pipelines.ingest.nodes import plan_stimulus_sets
from rep_kedro.stimuli.params import IngestParams
from rep_kedro.stimuli.readers.derived import derive_image

SHAPES = {"source": "shapes", "size_px": 16, "n_train": 12, "n_test": 6}


def params(**derived):
    sets = {"shapes": SHAPES, **{name: {"source": "derived", **entry} for name, entry in derived.items()}}
    return IngestParams.model_validate({"stimulus_sets": sets})


def spec_of(**entry):
    return params(made={"of": "shapes", **entry}).stimulus_sets["made"]


def make(folder, **derived):
    return run_plan(folder, plan_stimulus_sets(params(**derived)), ARROW)


def pixels_of(handle):
    return [np.array(Image.open(BytesIO(each.as_py()))) for each in handle.table(["image"])["image"]]


def noise(side, seed=0, channels=3):
    shape = (side, side, channels) if channels == 3 else (side, side)
    return np.random.default_rng(seed).integers(40, 200, shape, dtype=np.uint8)


def find(canvas, image):
    """Return all places of an image on a canvas, searched one by one."""
    side = len(image)
    rooms = [
        (row, column) for row in range(len(canvas) - side + 1) for column in range(len(canvas) - side + 1)
    ]
    return [(r, c) for r, c in rooms if (canvas[r : r + side, c : c + side] == image).all()]


def test_ids_labels_and_splits_are_those_of_the_other_set_and_images_are_placed(tmp_path):
    sets = make(tmp_path, placed={"of": "shapes", "canvas_px": 40, "seed": 3})
    columns = ["stimulus_id", "label", "split"]
    assert sets["placed"].table(columns).equals(sets["shapes"].table(columns))
    meta = sets["placed"].meta
    assert meta["image_size_px"] == 40
    for key in ("class_names", "counts", "class_counts", "test_is"):
        assert meta[key] == sets["shapes"].meta[key]
    assert meta["source"]["parent"] == sets["shapes"].meta["source"]
    places = []
    for canvas, image in zip(pixels_of(sets["placed"]), pixels_of(sets["shapes"]), strict=True):
        [(row, column)] = find(canvas, image)
        places.append((row, column))
        canvas[row : row + 16, column : column + 16] = 0
        assert not canvas.any()
    assert len(set(places)) > 10


def test_a_place_follows_from_seed_and_id_alone(tmp_path):
    few = {"shapes": {**SHAPES, "n_train": 6, "n_test": 0}}
    entry = {"source": "derived", "of": "shapes", "canvas_px": 40, "background": "noise"}
    fewer = IngestParams.model_validate({"stimulus_sets": {**few, "made": entry}})
    some = run_plan(tmp_path / "few", plan_stimulus_sets(fewer), ARROW)["made"]
    all_of_them, other = (
        make(
            tmp_path / str(seed), made={"of": "shapes", "canvas_px": 40, "background": "noise", "seed": seed}
        )["made"]
        for seed in (0, 1)
    )
    pairs = list(zip(pixels_of(some), pixels_of(all_of_them), strict=False))
    assert len(pairs) == 6
    assert all((a == b).all() for a, b in pairs)
    assert sum((a == b).all() for a, b in zip(pixels_of(some), pixels_of(other), strict=False)) == 0


def test_every_place_is_possible_and_equally_likely():
    image, spec = noise(3), spec_of(canvas_px=5)
    counts = np.zeros((3, 3), int)
    for number in range(900):
        [place] = find(derive_image(spec, f"id{number}", Image.fromarray(image)), image)
        counts[place] += 1
    assert counts.min() > 70
    assert counts.max() < 130


def test_a_canvas_of_the_image_is_the_image():
    image = noise(6)
    assert (derive_image(spec_of(canvas_px=6), "a", Image.fromarray(image)) == image).all()


@pytest.mark.parametrize("background", ["reflected", "edge"])
def test_surroundings_repeat_the_image(background):
    image = noise(4)
    canvas = derive_image(
        spec_of(canvas_px=13, background=background, place="centre"), "a", Image.fromarray(image)
    )
    top = (13 - 4) // 2
    for row in range(13):
        for column in range(13):
            place = [row - top, column - top]
            for axis in (0, 1):
                if background == "edge":
                    place[axis] = min(max(place[axis], 0), 3)
                while not 0 <= place[axis] < 4:
                    place[axis] = -place[axis] if place[axis] < 0 else 2 * 3 - place[axis]
            assert (canvas[row, column] == image[place[0], place[1]]).all()


def test_noise_is_uniform_between_the_extremes_of_the_image():
    image = noise(8)
    spec = spec_of(canvas_px=100, background="noise", place="centre")
    canvas = derive_image(spec, "a", Image.fromarray(image)).astype(int)
    assert find(canvas, image) == [(46, 46)]
    low, high = image.min(), image.max()
    assert (canvas.min(), canvas.max()) == (low, high)
    assert abs(canvas[:40].mean() - (int(low) + int(high)) / 2) < 2
    assert abs(canvas[:40].std() - (int(high) - int(low)) / 12**0.5) < 2


def test_shrinking_loses_detail_at_the_same_side():
    grid = np.indices((16, 16)).sum(0) % 2 * 255
    image = Image.fromarray(grid.astype(np.uint8))
    shrunk = derive_image(spec_of(shrink_px=4), "a", image)
    assert shrunk.shape == (16, 16, 1)
    assert abs(shrunk.astype(int) - 127).max() <= 16
    smooth = Image.fromarray(np.full((16, 16, 3), 90, np.uint8))
    assert (derive_image(spec_of(shrink_px=4), "a", smooth) == 90).all()


def test_resizing_takes_the_central_square():
    wide = np.zeros((8, 16, 3), np.uint8)
    wide[:, 4:12] = 255
    resized = derive_image(spec_of(side_px=20), "a", Image.fromarray(wide))
    assert resized.shape == (20, 20, 3)
    assert (resized[:, 1:-1] == 255).all()  # at the edges the filter reaches beyond the square


def test_steps_are_taken_in_their_order_and_sets_derive_from_derived_ones(tmp_path):
    together = {"of": "shapes", "shrink_px": 8, "side_px": 20, "canvas_px": 30, "place": "centre"}
    sets = make(
        tmp_path,
        small={"of": "shapes", "shrink_px": 8},
        large={"of": "small", "side_px": 20},
        placed={"of": "large", "canvas_px": 30, "place": "centre"},
        together=together,
    )
    for one, other in zip(pixels_of(sets["placed"]), pixels_of(sets["together"]), strict=True):
        assert (one == other).all()
    assert sets["placed"].recipe["source"]["parent"]["parent"]["of"] == "shapes"


def test_a_recipe_changes_with_the_other_set_and_the_images_files():
    before = plan_stimulus_sets(params(made={"of": "shapes", "canvas_px": 30}))["made"].recipe
    changed = IngestParams.model_validate(
        {
            "stimulus_sets": {
                "shapes": {**SHAPES, "seed": 1},
                "made": {"source": "derived", "of": "shapes", "canvas_px": 30},
            }
        }
    )
    after = plan_stimulus_sets(changed)["made"].recipe
    assert before["source"]["parent"]["seed"] == 0
    assert json.dumps(before) != json.dumps(after)


@pytest.mark.parametrize(
    ("derived", "shown"),
    [
        ({"made": {"of": "shapse", "canvas_px": 30}}, "made.of: no stimulus set 'shapse'; did you mean"),
        ({"made": {"of": "shapes"}}, "needs shrink_px, side_px or canvas_px"),
        ({"made": {"of": "shapes", "side_px": 8, "seed": 1}}, "seed without canvas_px has no effect"),
        ({"made": {"of": "shapes", "side_px": 8, "on_damaged": "skip"}}, "on_damaged has no effect"),
        ({"made": {"of": "made", "side_px": 8}}, "'made' is itself made of 'made'"),
        ({"a": {"of": "b", "side_px": 8}, "b": {"of": "a", "side_px": 8}}, "is itself made of"),
        ({"made": {"of": "shapes", "side_px": 40, "canvas_px": 30}}, "is smaller than side_px 40"),
        ({"made": {"of": "shapes", "canvas_px": 10**9}}, "less than or equal to 4096"),
    ],
)  # fmt: skip
def test_mistakes_are_found_in_the_parameters(derived, shown):
    with pytest.raises((UserError, ValidationError)) as caught:
        params(**derived)
    assert shown in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        ({"canvas_px": 12}, "canvas_px 12 is smaller than an image of 'shapes', 16 x 16 pixels"),
        ({"shrink_px": 16}, "shrink_px 16 is not below the side of an image of 'shapes'"),
    ],
)
def test_images_that_do_not_fit_are_found_while_planning(entry, shown):
    plan = plan_stimulus_sets(params(made={"of": "shapes", **entry}))
    assert shown in plan.left_out["made"]
    assert list(plan) == ["shapes"]
    with pytest.raises(UserError, match="stimulus 'a'"):
        derive_image(spec_of(**entry), "a", Image.fromarray(noise(16)))


def test_damaged_images_are_left_out_as_in_the_other_set(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(4):
        Image.fromarray(noise(9, seed=number)).save(folder / f"{number}.png")
    (folder / "2.png").write_bytes(b"no image")
    source = {"source": "image_folder", "path": str(folder), "on_damaged": "skip"}
    sets = {"own": source, "made": {"source": "derived", "of": "own", "canvas_px": 12}}
    plan = plan_stimulus_sets(IngestParams.model_validate({"stimulus_sets": sets}))
    found = run_plan(tmp_path / "sets", plan, ARROW)
    assert found["made"].meta["n_stimuli"] == 3
    assert found["made"].meta["damaged"] == found["own"].meta["damaged"]


def test_further_labels_and_drawn_splits_are_copied(tmp_path):
    folder, rows = tmp_path / "images", ["file,kind,colour"]
    folder.mkdir()
    for number in range(12):
        image = noise(9, seed=number, channels=1 if number % 2 else 3)
        Image.fromarray(image).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{'ab'[number % 2]},{'rgb'[number % 3]}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    labels = {"file": str(tmp_path / "labels.csv"), "id": "file", "label": ["kind", "colour"]}
    source = {"source": "image_folder", "path": str(folder), "test_fraction": 0.5, "labels": labels}
    sets = {"own": source, "made": {"source": "derived", "of": "own", "canvas_px": 12}}
    plan = plan_stimulus_sets(IngestParams.model_validate({"stimulus_sets": sets}))
    assert not plan.left_out
    assert plan["made"].recipe["labels_sha256"] == plan["own"].recipe["labels_sha256"]
    assert plan["made"].recipe["files_sha256"] == plan["own"].recipe["files_sha256"]
    found = run_plan(tmp_path / "sets", plan, ARROW)
    columns = ["stimulus_id", "label", "split", "label:colour"]
    assert found["made"].table(columns).equals(found["own"].table(columns))
    assert found["made"].meta["label_columns"] == found["own"].meta["label_columns"]
    assert {image.ndim for image in pixels_of(found["made"])} == {2, 3}  # grey images stay grey
