"""Pixels as each network's own preprocessing would give them."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from rep_kedro.features.images import make_pixels
from rep_kedro.models.preprocessing import Preprocessing

HALF = (0.5, 0.5, 0.5)


def _encode(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return image, [buffer.getvalue()]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_square_image_becomes_exactly_what_timms_transform_makes_of_it(interpolation):
    from timm.data import create_transform

    image, encoded = _encode(120, 120)
    transform = create_transform((3, 64, 64), interpolation=interpolation, crop_pct=0.9, mean=HALF, std=HALF)
    preprocessing = Preprocessing(size_px=64, resize_px=71, interpolation=interpolation, mean=HALF, std=HALF)
    found = preprocessing.scale(torch.from_numpy(make_pixels(encoded, preprocessing)))
    torch.testing.assert_close(found[0], transform(image), rtol=0, atol=1e-6)


def test_an_oblong_image_becomes_exactly_what_torchvisions_transform_makes_of_its_middle():
    from torchvision.transforms._presets import ImageClassification

    image, encoded = _encode(160, 128)
    transform = ImageClassification(crop_size=56, resize_size=64, mean=HALF, std=HALF)
    preprocessing = Preprocessing(size_px=56, resize_px=64, mean=HALF, std=HALF)
    found = preprocessing.scale(torch.from_numpy(make_pixels(encoded, preprocessing)))[0]
    # Sides that halve evenly; elsewhere the library's rounding of the long side shifts by up to half a pixel.
    torch.testing.assert_close(found, transform(image), rtol=0, atol=1e-6)


def test_a_grey_network_gets_one_channel():
    _, encoded = _encode(32, 24)
    preprocessing = Preprocessing(size_px=16, resize_px=20, mean=(0.1,), std=(0.3,))
    assert make_pixels(encoded, preprocessing).shape == (1, 1, 16, 16)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"resize_px": 10}, "resize_px 10 is below size_px 16"),
        ({"mean": (0.5, 0.5)}, "one or three values each"),
        ({"std": (0.5, 0.5, 0.0)}, "std .* must be positive"),
        ({"crop": 3}, "Extra inputs"),
    ],
)
def test_preprocessing_that_makes_no_sense_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing.model_validate({"size_px": 16, "resize_px": 16, "mean": HALF, "std": HALF, **content})
