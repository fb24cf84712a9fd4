"""Random views: what they do to an image, that they repeat, that the defaults do nothing."""

import math

import pytest
import torch
from tests.reference import augment as reference

from rep_kedro.kernels.training import augment


@pytest.fixture
def images():
    return torch.rand(5, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_affine_views_without_any_range_are_the_images(images):
    views = augment.draw_affine_views(images, _generator())
    torch.testing.assert_close(views, images, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    "ranges",
    [
        {"zoom": (0.7, 1.5)},
        {"rotation_deg": 40.0},
        {"shift_fraction": 0.2},
        {"shear": 0.3},
        {"stretch": 0.4},
        {"zoom": (0.8, 1.2), "rotation_deg": 20.0, "shift_fraction": 0.1, "shear": 0.2, "stretch": 0.2},
    ],
)
def test_affine_views_agree_with_sampling_pixel_by_pixel(images, ranges):
    views = augment.draw_affine_views(images.double(), _generator(3), **ranges)
    expected = reference.affine_views(images.double(), _generator(3), **ranges)
    torch.testing.assert_close(views, expected, atol=1e-10, rtol=0)


def test_crops_agree_with_sampling_pixel_by_pixel(images):
    crops = augment.draw_crops(images.double(), _generator(3), area=(0.2, 0.8), ratio=1.5)
    expected = reference.crops(images.double(), _generator(3), area=(0.2, 0.8), ratio=1.5)
    torch.testing.assert_close(crops, expected, atol=1e-10, rtol=0)


def test_a_crop_of_the_whole_area_is_the_image(images):
    torch.testing.assert_close(
        augment.draw_crops(images, _generator(), area=(1.0, 1.0), ratio=1.0), images, atol=2e-6, rtol=0
    )


def test_crops_never_show_what_is_not_in_the_image(images):
    crops = augment.draw_crops(images, _generator(), area=(0.1, 0.9), ratio=2.0)
    assert crops.amin() >= images.amin()
    assert crops.amax() <= images.amax()


def test_a_rotation_by_half_a_turn_turns_the_image_round(images, monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.ones(shape, dtype=torch.float64))
    views = augment.draw_affine_views(images.double(), _generator(), rotation_deg=180.0)
    torch.testing.assert_close(views, images.double().flip(-1, -2), atol=1e-10, rtol=0)


def test_every_image_gets_its_own_draw(images):
    same = images[:1].expand(5, -1, -1, -1)
    views = augment.draw_affine_views(same, _generator(), rotation_deg=30.0)
    assert all(not torch.equal(views[i], views[j]) for i in range(5) for j in range(i))


@pytest.mark.parametrize(
    "draw",
    [
        lambda x, g: augment.draw_affine_views(x, g, rotation_deg=30.0, zoom=(0.5, 2.0)),
        augment.draw_crops,
        augment.draw_flips,
        lambda x, g: augment.draw_noise(x, g, std=0.1),
        lambda x, g: augment.draw_padded_crops(x, g, padding_px=3),
        lambda x, g: augment.draw_lighting(x, g, std=0.1),
    ],
)
def test_a_seed_repeats_itself_another_does_not_and_the_images_stay_as_they_were(images, draw):
    before = images.clone()
    first, again, other = (
        draw(images, _generator(1)),
        draw(images, _generator(1)),
        draw(images, _generator(2)),
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)
    assert first.dtype == images.dtype
    assert first.shape == images.shape


@pytest.mark.parametrize("padding_px", [0, 1, 4, 20])
def test_padded_crops_agree_with_moving_pixel_by_pixel(images, padding_px):
    images = images[:, :, :, :10]
    crops = augment.draw_padded_crops(images, _generator(3), padding_px=padding_px)
    assert torch.equal(crops, reference.padded_crops(images, _generator(3), padding_px=padding_px))


def test_every_padded_crop_is_equally_likely():
    image = torch.zeros(900, 1, 3, 3)
    image[:, :, 1, 1] = 1
    crops = augment.draw_padded_crops(image, _generator(), padding_px=1)
    counts = crops.sum(dim=(0, 1))
    assert counts.sum() == 900
    assert 70 < counts.min() <= counts.max() < 130


def test_lighting_agrees_with_adding_direction_by_direction(images):
    found = augment.draw_lighting(images.double(), _generator(3), std=0.3)
    published = {
        "deviations": (0.2175, 0.0188, 0.0045),
        "directions": ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203)),
    }
    expected = reference.lighting(images.double(), _generator(3), std=0.3, **published)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    directions = torch.tensor(augment.LIGHTING_DIRECTIONS)
    torch.testing.assert_close(directions.T @ directions, torch.eye(3), atol=1e-3, rtol=0)


def test_a_flip_is_a_mirror_or_nothing(images):
    views = augment.draw_flips(images, _generator())
    kinds = [
        "same" if torch.equal(v, x) else "mirrored" if torch.equal(v, x.flip(-1)) else "other"
        for v, x in zip(views, images, strict=True)
    ]
    assert set(kinds) == {"same", "mirrored"}
    assert torch.equal(augment.draw_flips(images, _generator(), probability=1.0), images.flip(-1))


def test_noise_has_the_asked_spread():
    noise = augment.draw_noise(torch.zeros(4, 3, 64, 64), _generator(), std=0.1)
    assert noise.std().item() == pytest.approx(0.1, rel=0.02)
    assert abs(noise.mean().item()) < 0.1 / math.sqrt(noise.numel()) * 4
