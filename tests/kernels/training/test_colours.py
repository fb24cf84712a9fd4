"""Random colours, blur and solarisation: equal to torchvision at the same factors, image by image."""

import pytest
import torch
from tests.reference import augment as reference

from rep_kedro.kernels.training import colours

ONE_LEVEL = 1 / 255
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1}
LARGEST = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.5}


@pytest.fixture
def images():
    images = torch.rand(5, 3, 13, 13, generator=torch.Generator().manual_seed(1))
    images[0] = images[0].round()  # pure colours, black, white
    images[1] = images[1, :1]  # grey
    return images


@pytest.fixture
def torchvision():
    from torchvision.transforms.v2 import functional

    return functional


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("n_channels", [1, 3])
def test_turned_hues_are_those_of_torchvision(images, torchvision, n_channels):
    images, shifts = images[:, :n_channels], torch.tensor([-0.5, -0.35, 0.0, 0.35, 0.5])
    found = colours.adjust_hue(images, shifts.view(-1, 1, 1, 1))
    expected = [torchvision.adjust_hue(image, own.item()) for image, own in zip(images, shifts, strict=True)]
    torch.testing.assert_close(found, torch.stack(expected), atol=ONE_LEVEL / 100, rtol=0)


def test_grey_and_solarised_images_are_those_of_torchvision(images, torchvision):
    grey = colours.draw_colours(images, _generator(), grey_probability=1.0, order="random")
    torch.testing.assert_close(grey, torchvision.rgb_to_grayscale(images, 3), atol=ONE_LEVEL / 100, rtol=0)
    fixed = colours.draw_colours(images, _generator(), grey_probability=1.0)
    torch.testing.assert_close(fixed, grey, atol=ONE_LEVEL / 100, rtol=0)
    levels = torch.arange(256).view(1, 1, 16, 16) / 255
    bytes_ = torchvision.solarize(torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16), 128)
    torch.testing.assert_close(
        colours.draw_solarised(levels, _generator(), probability=1.0), bytes_ / 255, atol=1e-7, rtol=0
    )


@pytest.mark.parametrize("side", [3, 5, 23])
def test_a_blur_is_that_of_torchvision(torchvision, side):
    images = torch.rand(3, 3, 24, 24, generator=_generator(2))
    sigma = torch.tensor([0.1, 0.7, 2.0])
    expected = [
        torchvision.gaussian_blur(image, [side, side], [own.item()] * 2)
        for image, own in zip(images, sigma, strict=True)
    ]
    torch.testing.assert_close(
        colours.blur(images, sigma, side), torch.stack(expected), atol=ONE_LEVEL / 100, rtol=0
    )


def test_the_window_of_a_blur_is_a_tenth_of_the_image():
    assert [colours.window_px(side, 0.1) for side in (8, 32, 64, 96, 224)] == [3, 3, 7, 9, 23]


@pytest.mark.parametrize(("amounts", "probability"), [(JITTER, 1.0), (JITTER, 0.6), (LARGEST, 1.0)])
def test_jitter_in_random_order_agrees_with_torchvision_image_by_image(
    images, torchvision, amounts, probability
):
    many = images.repeat(8, 1, 1, 1)
    settings = {**amounts, "grey_probability": 0.3, "jitter_probability": probability}
    found = colours.draw_colours(many, _generator(4), order="random", **settings)
    expected = reference.jitter(many, _generator(4), torchvision, **settings)
    torch.testing.assert_close(found, expected, atol=ONE_LEVEL / 100, rtol=0)


def test_the_share_of_changed_images_is_the_probability():
    images = torch.rand(2000, 1, 4, 4, generator=_generator(5))
    for change in (
        lambda p: colours.draw_colours(
            images, _generator(), brightness=0.5, jitter_probability=p, order="random"
        ),
        lambda p: colours.draw_blur(images, _generator(), probability=p, sigma_px=(1.0, 2.0)),
        lambda p: colours.draw_solarised(images, _generator(), probability=p),
    ):
        changed = (change(0.3) != images).flatten(1).any(dim=1).double().mean().item()
        assert changed == pytest.approx(0.3, abs=0.04)


@pytest.mark.parametrize(
    "draw",
    [
        lambda x, g: colours.draw_colours(x, g, **JITTER),
        lambda x, g: colours.draw_colours(x, g, **JITTER, order="random", jitter_probability=0.5),
        lambda x, g: colours.draw_blur(x, g, probability=0.9),
        lambda x, g: colours.draw_solarised(x, g, probability=0.5),
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
    assert (first.dtype, first.shape) == (images.dtype, images.shape)
    assert 0 <= first.amin() <= first.amax() <= 1 + 1e-6


def test_every_image_gets_its_own_draw(images):
    same = images[2:3].expand(5, -1, -1, -1)
    views = colours.draw_colours(same, _generator(), brightness=0.5)
    assert all(not torch.equal(views[i], views[j]) for i in range(5) for j in range(i))


def test_colours_by_hand(monkeypatch):
    image = torch.tensor([0.2, 0.4, 0.6]).view(1, 3, 1, 1)
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.ones(shape))  # every factor 1 + amount
    brighter = colours.draw_colours(image, _generator(), brightness=0.5)
    assert brighter.flatten().tolist() == pytest.approx([0.3, 0.6, 0.9])
    contrast = colours.draw_colours(image, _generator(), contrast=0.5)
    assert contrast.flatten().tolist() == pytest.approx([0.1, 0.4, 0.7])
    both_ends = colours.draw_colours(image, _generator(), brightness=1.0)
    assert both_ends.flatten().tolist() == pytest.approx([0.4, 0.8, 1.0])
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.zeros(shape))
    grey = colours.draw_colours(image, _generator(), grey_probability=0.5)
    assert grey.shape == image.shape
    assert grey.flatten().tolist() == pytest.approx([0.36298] * 3)
