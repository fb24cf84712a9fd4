"""Transforms of features straight from their definitions, in float64 loops."""

import numpy as np


def unit_length(x):
    """Divide each row by the square root of the sum of its squares."""
    found = np.zeros(x.shape, np.float64)
    for i, row in enumerate(np.asarray(x, np.float64)):
        found[i] = row / np.sqrt(sum(value * value for value in row))
    return found


def centre(fitted, x):
    """Subtract from each feature its mean over the fitted rows."""
    fitted, x = np.asarray(fitted, np.float64), np.asarray(x, np.float64)
    means = [sum(column) / len(column) for column in fitted.T]
    return np.array([[value - mean for value, mean in zip(row, means, strict=True)] for row in x])


def standardise(fitted, x):
    """Divide what is centred by the population's standard deviation; features without one become 0."""
    centred = centre(fitted, x)
    for j, column in enumerate(centre(fitted, fitted).T):
        deviation = np.sqrt(sum(value * value for value in column) / len(column))
        centred[:, j] = centred[:, j] / deviation if deviation > 0 else 0.0
    return centred


def pca(fitted, x, *, n_components=None, variance=None):
    """Project on right singular vectors; the largest entry of each is positive."""
    own = centre(fitted, fitted)
    _, spreads, axes = np.linalg.svd(own, full_matrices=False)
    if variance is not None:
        total, so_far, n_components = sum(spreads**2), 0.0, 0
        while so_far / total <= variance:
            so_far += spreads[n_components] ** 2
            n_components += 1
    kept = []
    for axis in axes[:n_components]:
        largest = max(axis, key=abs)
        kept.append(axis if largest > 0 else -axis)
    return centre(fitted, x) @ np.array(kept).T
