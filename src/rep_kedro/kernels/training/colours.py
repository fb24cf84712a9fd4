"""Random colours, blur and solarisation of images, one draw per image, whole batches at once.

Random numbers are drawn on the CPU and moved. Images are float tensors (n, c, h, w) in [0, 1], with one
channel or with red, green and blue. Each change equals that of torchvision v2 at the same factor.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Order = Literal["fixed", "random"]
LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey: ITU-R 601-2, with the digits that torchvision has."""
SOLARISE_FROM = 128 / 255
# Share of red, green and blue in a hue h from 0 to 6, cut to [0, 1]: |h - 3| - 1, 2 - |h - 2|, 2 - |h - 4|.
_HUES = torch.tensor([[3.0, 2.0, 4.0], [1.0, -1.0, -1.0], [-1.0, 2.0, 2.0]]).view(3, 1, 3, 1, 1)
_SMALLEST_WINDOW = 3
_CONTRAST, _SATURATION, _HUE = 1, 2, 3  # places of these changes among the four; brightness blends with black


def to_grey(images: Tensor) -> Tensor:
    """Return the brightness that the eye sees, shape (n, 1, h, w); images of one channel as they are."""
    if images.shape[1] != len(LUMA):
        return images
    red, green, blue = images.tensor_split(len(LUMA), dim=1)
    return (LUMA[0] * red).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def adjust_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Return the images with all hues turned; brightness and saturation (of HSV) stay.

    Args:
        images: Shape (n, 3, h, w), in [0, 1]; images of one channel have no hue and come back as they are.
        shift: Shape (n, 1, 1, 1), in [-0.5, 0.5], in turns.

    Source:
        Smith 1978, doi:10.1145/800248.807361, without the detour over saturation.
    """
    if images.shape[1] != len(LUMA):
        return images
    red, green, blue = images.tensor_split(len(LUMA), dim=1)
    high, low = torch.maximum(red, green).maximum(blue), torch.minimum(red, green).minimum(blue)
    span = high - low
    hue = torch.lerp(
        (red - green).add_(span, alpha=4), (blue - red).add_(span, alpha=2), (high == green).to(high)
    )
    hue = torch.lerp(
        hue, green - blue, (high == red).to(high)
    )  # weights of 0 and 1 select, twice as fast as `where`
    hue /= span.clamp(min=torch.finfo(span.dtype).tiny)  # grey has no hue: 0 serves
    hue += 6 * shift
    hue.sub_(torch.floor(hue / 6), alpha=6)
    centres, signs, offsets = _HUES.to(images)
    shares = (hue - centres).abs_().mul_(signs).add_(offsets).clamp_(0, 1)
    return torch.addcmul(low, span, shares)


def draw_colours(  # noqa: PLR0913 - one for each change
    images: Tensor,
    generator: torch.Generator,
    *,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
    grey_probability: float = 0.0,
    jitter_probability: float = 1.0,
    order: Order = "fixed",
) -> Tensor:
    """Return the images with brightness, contrast, saturation and hue changed at random, in [0, 1].

    Args:
        images: Shape (n, c, h, w), in [0, 1].
        generator: CPU generator of the draws.
        brightness: Pixels are multiplied by a draw from [1 - brightness, 1 + brightness], brightness in
            [0, 1]; the next two likewise.
        contrast: Around the image's own mean.
        saturation: Around the grey image; no effect on one channel.
        hue: Largest turn to either side, in turns, up to 0.5.
        grey_probability: Share of images that lose their colour altogether.
        jitter_probability: Share of images whose brightness, contrast, saturation and hue are changed.
        order: `random` applies the four in an order of each image's own and clips after each, as torchvision
            does; `fixed` takes them in the order above, contrast around the mean of all channels, and clips
            once, before the hue.
    """
    n = len(images)
    draws = torch.rand(4, n, generator=generator).to(images).view(4, -1, 1, 1, 1)
    factors = 2 * draws[:3] - 1
    turns = (
        (2 * torch.rand(n, generator=generator) - 1 if hue else torch.zeros(n)).to(images).view(-1, 1, 1, 1)
    )
    if jitter_probability < 1:
        jittered = (torch.rand(n, generator=generator) < jitter_probability).to(images).view(-1, 1, 1, 1)
        factors, turns = factors * jittered, turns * jittered
    is_grey = draws[3] < grey_probability
    changes = (1 + brightness * factors[0], 1 + contrast * factors[1], 1 + saturation * factors[2])
    if order == "random":
        orders = torch.rand(n, 4, generator=generator).argsort(dim=1)
        views = _change_in_order(images, orders, (*changes, hue * turns))
        return _change_rows(views, is_grey.flatten(), to_grey) if grey_probability else views
    views = _change_at_once(images, changes, is_grey, keeps_colour=not (saturation or grey_probability))
    return adjust_hue(views, hue * turns) if hue else views


def draw_blur(
    images: Tensor,
    generator: torch.Generator,
    *,
    probability: float,
    sigma_px: tuple[float, float] = (0.1, 2.0),
    window: float = 0.1,
) -> Tensor:
    """Return the images, each blurred with the given probability.

    Args:
        images: Shape (n, c, h, w).
        generator: CPU generator of the draws.
        probability: Share of images that are blurred.
        sigma_px: Smallest and largest standard deviation of the Gaussian, uniform, in pixels.
        window: Side of the Gaussian's window, as a fraction of the image's; see :func:`window_px`.

    Source:
        Chen et al. 2020, arXiv:2002.05709, appendix A.
    """
    n = len(images)
    draws = torch.rand(2, n, generator=generator)
    sigma = (sigma_px[0] + draws[1] * (sigma_px[1] - sigma_px[0])).to(images.device)
    side_px = window_px(images.shape[-1], window)
    blurred = draws[0] < probability
    return _change_rows(images.clone(), blurred, lambda chosen, own: blur(chosen, own, side_px), sigma)


def window_px(side_px: int, fraction: float) -> int:
    """Return the side of a blur's window: an odd number of pixels near a fraction of the image, at least 3.

    Example:
        >>> window_px(224, 0.1), window_px(32, 0.1), window_px(16, 0.1)
        (23, 3, 3)
    """
    return max(_SMALLEST_WINDOW, 2 * int(side_px * fraction / 2) + 1)


def blur(images: Tensor, sigma_px: Tensor, side_px: int) -> Tensor:
    """Return the images under a Gaussian of their own, mirrored at the edges.

    Args:
        images: Shape (n, c, h, w), sides larger than half the window.
        sigma_px: Shape (n,), positive; of the Gaussian, in pixels.
        side_px: Odd side of the window that it is cut to.
    """
    half = side_px // 2
    places = torch.arange(-half, half + 1, dtype=torch.float64, device=images.device)
    weights = torch.softmax(-(places**2) / (2 * sigma_px.double()[:, None] ** 2), dim=1).to(images)
    weights = weights.view(len(images), 1, 1, 1, side_px)
    padded = functional.pad(images, [half] * 4, mode="reflect")
    across = _weigh_shifts(padded, weights, dim=3)
    return _weigh_shifts(across, weights, dim=2)


def draw_solarised(images: Tensor, generator: torch.Generator, *, probability: float) -> Tensor:
    """Return the images, each with its bright pixels inverted with the given probability."""
    chosen = torch.rand(len(images), generator=generator) < probability
    return torch.where(chosen.to(images.device).view(-1, 1, 1, 1), solarise(images), images)


def solarise(images: Tensor) -> Tensor:
    """Return the images with all pixels from 128 of 255 on inverted."""
    return torch.where(images >= SOLARISE_FROM, 1 - images, images)


def _change_in_order(images: Tensor, orders: Tensor, changes: tuple[Tensor, ...]) -> Tensor:
    """Apply the four changes to each image in its order, and clip after each.

    The first three blend an image with black, the mean of its grey, or its grey. At each place of the order
    all images are blended at once, by a factor of 1 where the hue has its turn.
    """
    turns = changes[-1]
    factors = torch.stack([*changes[:-1], torch.ones_like(turns)])
    places, rows = orders.T.to(images.device), torch.arange(len(images), device=images.device)
    views = images.clone()
    for kinds in places:
        factor = factors[kinds, rows]
        shares = [(1 - factor) * (kinds == kind).view(factor.shape) for kind in (_CONTRAST, _SATURATION)]
        grey = to_grey(views)
        base = (grey * shares[1]).add_(grey.mean(dim=(2, 3), keepdim=True) * shares[0])
        views.mul_(factor).add_(base).clamp_(0, 1)
        _change_rows(views, (kinds == _HUE) & (turns.flatten() != 0), adjust_hue, turns)
    return views


def _change_rows(views: Tensor, chosen: Tensor, change: Callable[..., Tensor], *settings: Tensor) -> Tensor:
    """Replace the chosen images by what `change` makes of them and of their settings; return all."""
    rows = chosen.nonzero().flatten().to(views.device)
    if len(rows):
        views[rows] = change(*(each.index_select(0, rows) for each in (views, *settings)))
    return views


def _change_at_once(
    images: Tensor, changes: tuple[Tensor, Tensor, Tensor], is_grey: Tensor, *, keeps_colour: bool
) -> Tensor:
    """Change brightness, contrast and saturation in this order and clip at the end."""
    views = images * changes[0]
    mean = views.mean(dim=(1, 2, 3), keepdim=True)
    views = mean + (views - mean) * changes[1]
    colour = torch.where(is_grey, torch.zeros_like(changes[2]), changes[2])
    # Where colour is kept, grey cancels but for rounding: this one gives the bits of networks stored earlier.
    grey = views.mean(dim=1, keepdim=True) if keeps_colour else to_grey(views)
    return (grey + (views - grey) * colour).clamp(0, 1)


def _weigh_shifts(padded: Tensor, weights: Tensor, dim: int) -> Tensor:
    """Return the sum of shifted images with a weight of each image for each shift."""
    side = weights.shape[-1]
    length = padded.shape[dim] - side + 1
    total = padded.narrow(dim, side // 2, length) * weights[..., side // 2]
    for shift in range(side // 2):
        both = padded.narrow(dim, shift, length) + padded.narrow(dim, side - 1 - shift, length)
        total.addcmul_(both, weights[..., shift])
    return total
