"""Generated stimuli: six shapes at random positions, sizes and colours, with noise.

Outlines are computed on a grid four times as fine and averaged, with whole numbers throughout, so that the
bytes are the same on every machine. Stimulus i of a split depends on the seed and on i alone: more stimuli
never change earlier ones.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from rep_kedro.errors import UserError
from rep_kedro.parameter_rules import Seed
from rep_kedro.stimuli.base import SourceSpec
from rep_kedro.stimuli.png import encode_png
from rep_kedro.stimuli.record import DamageLog, Stimulus, StimulusStream

if TYPE_CHECKING:
    import numpy as np

SHAPES = ("disk", "ring", "square", "frame", "triangle", "cross")
_FINE = 4  # fine cells per pixel and axis
_SPLIT_CODES = {"train": 0, "test": 1}


class ShapesSpec(SourceSpec):
    """Generated shapes; the label is the shape.

    Attributes:
        size_px: Side length of the images, in pixels.
        n_train: Stimuli of the split ``train``, shapes in turn.
        n_test: Stimuli of the split ``test``.
        min_size_fraction: Smallest diameter of a shape, as a share of the image.
        max_size_fraction: Largest diameter.
        min_contrast_levels: Smallest difference of brightness between shape and ground, of 255.
        noise_levels: The brightness of each pixel changes by at most so many of 255 levels, uniformly.
        seed: Of all random choices.
    """

    source: Literal["shapes"] = "shapes"
    size_px: int = Field(default=16, ge=8, le=256)
    n_train: int = Field(default=480, ge=0)
    n_test: int = Field(default=180, ge=0)
    min_size_fraction: float = Field(default=0.5, gt=0.2, le=1)
    max_size_fraction: float = Field(default=0.9, gt=0.2, le=1)
    min_contrast_levels: int = Field(default=60, ge=0, le=120)
    noise_levels: int = Field(default=4, ge=0, le=127)
    seed: Seed = 0


def read(spec: ShapesSpec, log: DamageLog) -> StimulusStream:
    """Open the source; ids are ``<split>/<shape>/<number>``."""
    if spec.min_size_fraction > spec.max_size_fraction:
        raise UserError(
            f"min_size_fraction {spec.min_size_fraction} exceeds max_size_fraction {spec.max_size_fraction}"
        )
    return StimulusStream(SHAPES, _stimuli(spec), is_encoded_here=True)


def _stimuli(spec: ShapesSpec) -> Iterator[Stimulus]:
    for split, count in (("train", spec.n_train), ("test", spec.n_test)):
        for number in range(count):
            label = number % len(SHAPES)
            pixels = draw_shape(spec, SHAPES[label], split, number)
            yield Stimulus(f"{split}/{SHAPES[label]}/{number:05d}", encode_png(pixels), label, split)


def draw_shape(spec: ShapesSpec, shape: str, split: str, number: int) -> "np.ndarray":
    """Return one image, uint8, shape (size_px, size_px, 3)."""
    import numpy as np

    generator = np.random.default_rng([spec.seed, _SPLIT_CODES[split], number])
    fine_px = spec.size_px * _FINE
    low, high = (int(fraction * fine_px) for fraction in (spec.min_size_fraction, spec.max_size_fraction))
    diameter = int(generator.integers(low, high + 1))
    top, left = (int(place) for place in generator.integers(0, fine_px - diameter + 1, size=2))

    # coverage of each pixel by the shape, from 0 to _FINE * _FINE
    mask = _outline(shape, fine_px, top, left, diameter)
    coverage = mask.reshape(spec.size_px, _FINE, spec.size_px, _FINE).sum(axis=(1, 3))[:, :, None]
    ground, colour = _draw_colours(generator, spec.min_contrast_levels)
    full = _FINE * _FINE
    pixels = (coverage * colour + (full - coverage) * ground) // full
    noise = generator.integers(-spec.noise_levels, spec.noise_levels + 1, size=pixels.shape[:2])[:, :, None]
    drawn: np.ndarray = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    return drawn


def _draw_colours(
    generator: "np.random.Generator", min_contrast_levels: int
) -> tuple["np.ndarray", "np.ndarray"]:
    """Return two colours whose mean brightness differs enough; either may be the lighter one."""
    while True:
        ground, colour = generator.integers(0, 256, size=(2, 3))
        if abs(int(ground.sum()) - int(colour.sum())) >= 3 * min_contrast_levels:
            return ground, colour


def _outline(shape: str, fine_px: int, top: int, left: int, diameter: int) -> "np.ndarray":
    """Return which cells of the fine grid the shape covers, as 0 and 1, shape (fine_px, fine_px)."""
    import numpy as np

    # doubled coordinates of cell centres from the shape's centre: whole numbers
    y = 2 * (np.arange(fine_px)[:, None] - top) + 1 - diameter
    x = 2 * (np.arange(fine_px)[None, :] - left) + 1 - diameter
    radius_squared = x * x + y * y
    box = np.maximum(abs(x), abs(y))
    bar = np.minimum(abs(x), abs(y))
    covered = {
        "disk": radius_squared <= diameter**2,
        "ring": (radius_squared <= diameter**2) & (4 * radius_squared >= diameter**2),
        "square": box <= diameter,
        "frame": (box <= diameter) & (2 * box >= diameter),
        "triangle": (abs(y) <= diameter) & (2 * abs(x) <= y + diameter),
        "cross": (box <= diameter) & (3 * bar <= diameter),
    }
    return covered[shape].astype(np.int64)
