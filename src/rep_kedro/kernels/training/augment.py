"""Random views of images, one draw per image, whole batches at once.

Random numbers are drawn on the CPU and moved, so that a seed gives the same views on every device. Images
are float tensors in [0, 1].
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from rep_kedro.kernels.training.portable import portable_sqrt

# Principal directions of the colours of ImageNet's pixels in [0, 1], as columns, and the scale of each.
LIGHTING_SCALES = (0.2175, 0.0188, 0.0045)
LIGHTING_DIRECTIONS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)


def draw_affine_views(
    images: Tensor,
    generator: torch.Generator,
    *,
    zoom: tuple[float, float] = (1.0, 1.0),
    rotation_deg: float = 0.0,
    shift_fraction: float = 0.0,
    shear: float = 0.0,
    stretch: float = 0.0,
) -> Tensor:
    """Return each image turned, scaled, sheared and shifted by its own draw, bilinear, edges repeated.

    Args:
        images: Shape (n, c, h, w), float.
        generator: CPU generator of the draws.
        zoom: Smallest and largest magnification, above 0, drawn log-uniformly; 2 shows the middle quarter.
        rotation_deg: Largest rotation to either side.
        shift_fraction: Largest shift along each axis to either side, as a fraction of the image side.
        shear: Largest shear to either side.
        stretch: Largest change of the aspect ratio to either side, as a natural logarithm.

    Returns:
        Views of the same shape, dtype and device.
    """
    n = len(images)
    draws = torch.rand(6, n, generator=generator, dtype=torch.float64)
    symmetric = 2 * draws - 1
    scale = torch.exp(math.log(zoom[0]) + draws[0] * (math.log(zoom[1]) - math.log(zoom[0])))
    angle = symmetric[1] * math.radians(rotation_deg)
    across, down = torch.exp(symmetric[5] * stretch / 2), torch.exp(-symmetric[5] * stretch / 2)
    cos, sin, slant = angle.cos(), angle.sin(), symmetric[4] * shear
    # Output to input coordinates, in [-1, 1]: a magnified view reads a smaller part of the input.
    rows = [
        torch.stack([cos / across, (slant * cos - sin) / across, 2 * symmetric[2] * shift_fraction * scale]),
        torch.stack([sin / down, (slant * sin + cos) / down, 2 * symmetric[3] * shift_fraction * scale]),
    ]
    matrices = torch.stack(rows).permute(2, 0, 1) / scale.view(n, 1, 1)
    grid = functional.affine_grid(matrices.to(images), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def draw_crops(
    images: Tensor,
    generator: torch.Generator,
    *,
    area: tuple[float, float] = (0.2, 1.0),
    ratio: float = 4 / 3,
) -> Tensor:
    """Return one random crop of each image, resized to the full side (bilinear).

    Args:
        images: Shape (n, c, h, w), float.
        generator: CPU generator of the draws.
        area: Smallest and largest share of the area, uniform, in (0, 1].
        ratio: Largest aspect ratio, at least 1; drawn log-uniformly between 1 / ratio and ratio.

    Returns:
        Crops of the same shape, dtype and device; a crop never leaves the image.
    """
    n = len(images)
    draws = torch.rand(4, n, generator=generator, dtype=torch.float64)
    share = area[0] + draws[0] * (area[1] - area[0])
    aspect = torch.exp((2 * draws[1] - 1) * math.log(ratio))
    width, height = portable_sqrt(share * aspect).clamp(max=1), portable_sqrt(share / aspect).clamp(max=1)
    left, top = (2 * draws[2] - 1) * (1 - width), (2 * draws[3] - 1) * (1 - height)
    columns, rows = (
        _pixel_centres(side, images) * share.to(images)[:, None] + place.to(images)[:, None]
        for side, share, place in ((images.shape[3], width, left), (images.shape[2], height, top))
    )
    grid = images.new_empty(n, *images.shape[2:], 2)
    grid[..., 0], grid[..., 1] = columns[:, None, :], rows[:, :, None]
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def draw_padded_crops(images: Tensor, generator: torch.Generator, *, padding_px: int) -> Tensor:
    """Return each image moved by whole pixels, with zeros from beyond it: a crop within a black margin.

    Args:
        images: Shape (n, c, h, w).
        generator: CPU generator of the draws.
        padding_px: Width of the margin, at least 0; each of (2 * padding_px + 1)^2 crops is equally likely.

    Returns:
        Crops of the same shape, dtype and device.

    Source:
        He et al. 2016, arXiv:1512.03385, section 4.2.
    """
    n, n_channels, height, width = images.shape
    tops, lefts = torch.randint(0, 2 * padding_px + 1, (2, n, 1), generator=generator).to(images.device)
    rows = (tops + torch.arange(height, device=images.device)).view(n, 1, height, 1)
    columns = (lefts + torch.arange(width, device=images.device)).view(n, 1, 1, width)
    padded = functional.pad(images, [padding_px] * 4)
    image = torch.arange(n, device=images.device).view(n, 1, 1, 1)
    channel = torch.arange(n_channels, device=images.device).view(1, n_channels, 1, 1)
    return padded[image, channel, rows, columns]


def draw_lighting(images: Tensor, generator: torch.Generator, *, std: float) -> Tensor:
    """Return the images, each with one colour added along the principal directions of natural colours.

    Args:
        images: Shape (n, 3, h, w), in [0, 1].
        generator: CPU generator of the draws.
        std: Standard deviation of the draw of each direction, in units of that direction's own.

    Returns:
        Images of the same shape, dtype and device, not clipped.

    Source:
        Krizhevsky et al. 2012, section 4.1; numbers as published for Torch's AlexNet.
    """
    draws = std * torch.randn(len(images), len(LIGHTING_SCALES), generator=generator, dtype=torch.float64)
    directions = torch.tensor(LIGHTING_DIRECTIONS, dtype=torch.float64)
    scaled = draws * torch.tensor(LIGHTING_SCALES, dtype=torch.float64)
    parts = scaled[:, None, :] * directions
    colours = parts[..., 0] + parts[..., 1] + parts[..., 2]  # in one order on every machine
    return images + colours.to(images)[:, :, None, None]


def draw_flips(images: Tensor, generator: torch.Generator, *, probability: float = 0.5) -> Tensor:
    """Return the images, each mirrored left to right with the given probability."""
    mirrored = torch.rand(len(images), generator=generator) < probability
    rows = mirrored.nonzero().flatten().to(images.device)
    views = images.clone()
    views[rows] = images.index_select(0, rows).flip(-1)
    return views


def draw_noise(images: Tensor, generator: torch.Generator, *, std: float) -> Tensor:
    """Return the images with independent Gaussian noise added to each pixel, not clipped."""
    if std == 0:
        return images
    return images + std * torch.randn(images.shape, generator=generator).to(images)


def _pixel_centres(side_px: int, images: Tensor) -> Tensor:
    """Return the places of pixels along a side from -1 to 1, as torch's `affine_grid` has them."""
    ends = torch.linspace(-1, 1, side_px, dtype=images.dtype, device=images.device)
    return ends * (side_px - 1) / side_px
