"""The figure of stimuli: a few small images of each set, by class, of bounded size."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from rep_kedro.datasets.figure import render_svg
from rep_kedro.reporting.stimuli.figures import MOST_SETS, N_IMAGES, SIDE_PX, plot_stimuli


class FakeSet:
    """A stimulus set without a file, which counts the images that are read."""

    def __init__(self, labels, side_px=64, class_names=("cat", "dog")):
        rng = np.random.default_rng(0)
        images = []
        for _ in labels:
            stream = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)).save(
                stream, "PNG", compress_level=1
            )
            images.append(stream.getvalue())
        ids = [f"stimulus {row}" for row in range(len(labels))]
        self.held = pa.table({"stimulus_id": ids, "image": images, "label": pa.array(labels, pa.int32())})
        self.meta, self.n_read = {"class_names": list(class_names)}, 0

    def table(self, columns=None):
        assert columns is not None
        assert "image" not in columns
        return self.held.select(columns)

    def picked(self, rows, columns=None):
        self.n_read += len(rows)
        yield from self.held.take(pa.array(rows)).select(columns).combine_chunks().to_batches()


def words_of(axes):
    return [text.get_text() for panel in axes for text in panel.texts]


def test_each_set_is_a_row_of_its_classes_and_only_these_images_are_read():
    sets = {"pets": FakeSet([0, 1, 0, 1] * 20), "patches": FakeSet([None] * 30, class_names=())}
    figure = plot_stimuli(sets)
    assert [held.n_read for held in sets.values()] == [N_IMAGES, N_IMAGES]
    rows = np.array(figure.axes).reshape(2, N_IMAGES)
    assert words_of(rows[0]) == ["–", "patches", *["–"] * (N_IMAGES - 1)]
    assert words_of(rows[1]) == ["cat", "pets", "cat", "cat", "dog", "dog", "dog"]
    assert {panel.images[0].get_array().shape for panel in figure.axes} == {(SIDE_PX, SIDE_PX, 3)}


def test_the_bytes_are_bounded_however_many_sets_and_however_large_images():
    sets = {f"set {index:02d}": FakeSet([0, 1] * 8, side_px=200) for index in range(MOST_SETS + 2)}
    svg = render_svg(plot_stimuli(sets))
    assert len(svg) < 6 * N_IMAGES * MOST_SETS * SIDE_PX**2
    assert f"({MOST_SETS} of {MOST_SETS + 2} stimulus sets)" in svg


@pytest.mark.parametrize("label", [7, 0])
def test_a_label_without_a_class_name_is_written_as_it_is(label):
    figure = plot_stimuli({"pets": FakeSet([label], class_names=())})
    assert words_of(figure.axes) == [str(label), "pets"]


def test_without_images_it_says_so():
    assert plot_stimuli({}).get_label() == "no stimulus set has images here"
