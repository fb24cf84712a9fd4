"""Maps on the straight line from one stitch to another."""

import torch

from rep_kedro.kernels.stitching.maps import AffineMap, rank_of

N_POINTS = 11


def interpolate_maps(first: AffineMap, second: AffineMap, *, n_points: int = N_POINTS) -> list[AffineMap]:
    """Return maps from the first to the second in equal steps, both ends included.

    Args:
        first: A map.
        second: A map between the same layers.
        n_points: At least 2.

    Returns:
        ``n_points`` maps; the first and the last equal the given ones exactly.

    Raises:
        ValueError: If shapes differ, or there are fewer than 2 points.

    Source:
        Goodfellow, Vinyals & Saxe 2015, arXiv:1412.6544 (linear interpolation of parameters).
    """
    if first.weight.shape != second.weight.shape:
        raise ValueError(
            "a path needs maps between the same layers, got weights of shapes "
            f"{tuple(first.weight.shape)} and {tuple(second.weight.shape)}"
        )
    if n_points < 2:
        raise ValueError(f"a path needs at least 2 points, got {n_points}")
    steps = [index / (n_points - 1) for index in range(1, n_points - 1)]
    between = [
        (torch.lerp(first.weight, second.weight, t), torch.lerp(first.bias, second.bias, t)) for t in steps
    ]
    maps = [AffineMap(weight, bias, rank_of(weight)) for weight, bias in between]
    return [first, *maps, second]
