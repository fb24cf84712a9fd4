"""Measures of distance matrices straight from their definitions; trees by looking at all edges each time."""

import numpy as np


def distances(x):
    return np.array([[np.linalg.norm(p - q) for q in x] for p in x])


def norm_difference(x, y):
    return np.sqrt(sum((p - q) ** 2 for p, q in zip(distances(x).flat, distances(y).flat, strict=True)))


def tree_length(apart):
    """Of Prim's tree: the nearest stimulus that is not in it yet is added."""
    within, length = [0], 0.0
    while len(within) < len(apart):
        outside = [j for j in range(len(apart)) if j not in within]
        nearest, j = min((apart[i, j], j) for i in within for j in outside)
        within.append(j)
        length += nearest
    return length


def in_quantiles(apart):
    return apart / np.quantile(apart[np.triu_indices(len(apart), 1)], 0.9)


def rtd_lite(x, y):
    first, second = in_quantiles(distances(x)), in_quantiles(distances(y))
    return (tree_length(first) + tree_length(second)) / 2 - tree_length(np.minimum(first, second))
