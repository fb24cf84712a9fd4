"""Sets of images with more than 8 bits: their range is found, reported, and scaled on demand."""

import logging

import numpy as np
import pytest
from PIL import Image

from rep_kedro.pipelines.ingest.nodes import plan_stimulus_sets
from rep_kedro.stimuli import decode_images
from rep_kedro.stimuli.params import IngestParams
from rep_kedro.stimuli.png import encode_png
from rep_kedro.stimuli.record import DamagedSourceError

VALUES = np.linspace(100, 4000, 64).round().astype(np.uint16).reshape(8, 8)
IN_12_BITS = np.rint(VALUES * (255 / 4095)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a PNG and a TIFF of 12-bit values in 16 bits, and one of 8 bits."""
    Image.fromarray(VALUES).save(tmp_path / "a.png")
    Image.fromarray(VALUES).save(tmp_path / "b.tif")
    Image.fromarray(IN_12_BITS).save(tmp_path / "c.png")
    return tmp_path


def warnings_of(caplog, **entry):
    with caplog.at_level(logging.WARNING):
        plan = plan_stimulus_sets(IngestParams(stimulus_sets={"mine": entry}))
        plan["mine"].compute()
    return [record.getMessage() for record in caplog.records]


def test_values_that_leave_bits_unused_are_reported_with_their_range(folder, caplog):
    [warning] = warnings_of(caplog, source="image_folder", path=folder)
    assert warning == (
        "stimulus set 'mine': 2 images of 16 bits hold values from 100 to 4,000 and become 8 bits as"
        " value * 255 / 65,535, hence 17 levels at most; if they have fewer bits, set max_value, such as 4095"
    )


def test_values_that_use_all_bits_are_not_reported(tmp_path, caplog):
    Image.fromarray(VALUES * 16).save(tmp_path / "a.png")
    assert not warnings_of(caplog, source="image_folder", path=tmp_path)


def test_a_largest_value_scales_what_is_stored_and_silences_the_report(folder, caplog, make_set):
    entry = {"source": "image_folder", "path": folder, "max_value": 4095}
    table, meta = make_set(**entry)
    found = decode_images(table["image"], size_px=8, channels=1)[:, 0]
    assert np.array_equal(found, [IN_12_BITS] * 3)
    assert table["image"].to_pylist()[:2] == [encode_png(IN_12_BITS)] * 2
    assert table["image"].to_pylist()[2] == (folder / "c.png").read_bytes()
    assert meta["wide_values"] == {"n_images": 2, "smallest": 100, "largest": 4000}
    assert meta["source"]["max_value"] == 4095
    assert not [text for text in warnings_of(caplog, **entry) if "16 bits" in text]


def test_values_above_the_largest_value_are_damage(folder, make_set):
    entry = {"source": "image_folder", "path": folder, "max_value": 3000}
    with pytest.raises(
        DamagedSourceError, match=r"2 damaged items: a.png \(values up to 4,000, more than max_v"
    ):
        make_set(**entry)


def test_a_largest_value_that_no_image_needs_is_refused(tmp_path, make_set):
    Image.fromarray(IN_12_BITS).save(tmp_path / "c.png")
    with pytest.raises(
        DamagedSourceError, match="max_value 4095 has no effect: no image has 16 bits per channel"
    ):
        make_set(source="image_folder", path=tmp_path, max_value=4095)


def test_images_with_several_frames_are_reported(tmp_path, caplog):
    frames = [Image.fromarray(IN_12_BITS), Image.fromarray(255 - IN_12_BITS)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    [warning] = warnings_of(caplog, source="image_folder", path=tmp_path)
    assert warning.endswith("1 images have several frames, of which the first counts")
