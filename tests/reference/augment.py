"""Random views pixel by pixel: the same draws, one bilinear reading per output pixel, edges repeated."""

import math

import torch


def affine_views(
    images, generator, *, zoom=(1.0, 1.0), rotation_deg=0.0, shift_fraction=0.0, shear=0.0, stretch=0.0
):
    draws = torch.rand(6, len(images), generator=generator, dtype=torch.float64).tolist()
    side = images.shape[-1]
    views = torch.zeros_like(images)
    for i in range(len(images)):
        scale = zoom[0] ** (1 - draws[0][i]) * zoom[1] ** draws[0][i]
        angle = math.radians(rotation_deg) * (2 * draws[1][i] - 1)
        shift_x, shift_y = (side * shift_fraction * (2 * draws[k][i] - 1) for k in (2, 3))
        slant = shear * (2 * draws[4][i] - 1)
        aspect = math.exp(stretch * (2 * draws[5][i] - 1))
        for row in range(side):
            for column in range(side):
                x, y = column - (side - 1) / 2, row - (side - 1) / 2
                x = x + slant * y  # shear, then turn, then stretch, then shrink, then shift
                x, y = x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)
                x, y = x / math.sqrt(aspect) / scale, y * math.sqrt(aspect) / scale
                x, y = x + shift_x, y + shift_y
                views[i, :, row, column] = _read(images[i], y + (side - 1) / 2, x + (side - 1) / 2)
    return views


def crops(images, generator, *, area, ratio):
    draws = torch.rand(4, len(images), generator=generator, dtype=torch.float64).tolist()
    side = images.shape[-1]
    views = torch.zeros_like(images)
    for i in range(len(images)):
        share = area[0] + draws[0][i] * (area[1] - area[0])
        aspect = ratio ** (2 * draws[1][i] - 1)
        width, height = (side * min(1.0, math.sqrt(x)) for x in (share * aspect, share / aspect))
        left, top = draws[2][i] * (side - width), draws[3][i] * (side - height)
        for row in range(side):
            for column in range(side):
                y = top + (row + 0.5) / side * height - 0.5
                x = left + (column + 0.5) / side * width - 0.5
                views[i, :, row, column] = _read(images[i], y, x)
    return views


def padded_crops(images, generator, *, padding_px):
    draws = torch.randint(0, 2 * padding_px + 1, (2, len(images), 1), generator=generator).tolist()
    views = torch.zeros_like(images)
    for i in range(len(images)):
        for row in range(images.shape[2]):
            for column in range(images.shape[3]):
                y, x = row + draws[0][i][0] - padding_px, column + draws[1][i][0] - padding_px
                if 0 <= y < images.shape[2] and 0 <= x < images.shape[3]:
                    views[i, :, row, column] = images[i, :, y, x]
    return views


def lighting(images, generator, *, std, deviations, directions):
    draws = torch.randn(len(images), 3, generator=generator, dtype=torch.float64).tolist()
    views = images.clone()
    for i in range(len(images)):
        for channel in range(3):
            for k in range(3):
                views[i, channel] += std * draws[i][k] * deviations[k] * directions[channel][k]
    return views


def jitter(
    images,
    generator,
    torchvision,
    *,
    brightness,
    contrast,
    saturation,
    hue,
    grey_probability,
    jitter_probability,
):
    """Colours by torchvision's functions, one image after the other, in the order that it drew."""
    n = len(images)
    draws = torch.rand(4, n, generator=generator).tolist()
    turns = torch.rand(n, generator=generator).tolist()
    chosen = [True] * n
    if jitter_probability < 1:
        chosen = [draw < jitter_probability for draw in torch.rand(n, generator=generator).tolist()]
    orders = torch.rand(n, 4, generator=generator).argsort(dim=1).tolist()
    views = []
    for i, image in enumerate(images):
        changes = [
            (torchvision.adjust_brightness, 1 + brightness * (2 * draws[0][i] - 1)),
            (torchvision.adjust_contrast, 1 + contrast * (2 * draws[1][i] - 1)),
            (torchvision.adjust_saturation, 1 + saturation * (2 * draws[2][i] - 1)),
            (torchvision.adjust_hue, hue * (2 * turns[i] - 1)),
        ]
        for kind in orders[i] if chosen[i] else []:
            change, factor = changes[kind]
            image = change(image, factor)  # noqa: PLW2901
        views.append(torchvision.rgb_to_grayscale(image, 3) if draws[3][i] < grey_probability else image)
    return torch.stack(views)


def _read(image, y, x):
    """Bilinear reading at pixel coordinates; beyond the edge, the edge."""
    height, width = image.shape[-2:]
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = math.floor(y), math.floor(x)
    value = 0
    for row, weight_y in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, weight_x in ((left, 1 - (x - left)), (left + 1, x - left)):
            if weight_y * weight_x > 0:
                value = value + weight_y * weight_x * image[:, row, column]
    return value
