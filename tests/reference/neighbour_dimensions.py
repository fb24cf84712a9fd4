"""Intrinsic dimensions from nearest neighbours straight from their definitions, in loops over samples."""

import math

import numpy as np


def neighbour_distances(x):
    """Ascending distances of each sample that differs to the other ones."""
    x = np.unique(x, axis=0)
    return [sorted(math.dist(p, q) for j, q in enumerate(x) if j != i) for i, p in enumerate(x)]


def two_nn(x):
    ratios = sorted(row[1] / row[0] for row in neighbour_distances(x))
    n = len(ratios)
    points = [(math.log(mu), -math.log(1 - i / n)) for i, mu in enumerate(ratios, 1) if i <= int(0.9 * n)]
    return sum(a * b for a, b in points) / sum(a * a for a, _ in points)


def mle(x):
    dimensions = []
    for k in range(10, 21):
        inverses = [
            sum(math.log(row[k - 1] / row[j]) for j in range(k - 1)) / (k - 1)
            for row in neighbour_distances(x)
        ]
        dimensions.append(1 / np.mean(inverses))
    return np.mean(dimensions)
