"""Descriptions of single models straight from their definitions, one pair of stimuli after the other."""

import math

import numpy as np
from tests.reference.neighbours import front

TIMES = np.logspace(-1, 1, 256)


def magnitude(x):
    return np.linalg.norm(x.mean(axis=0))


def concentricity(x):
    centre = x.mean(axis=0)
    return np.mean([p @ centre / np.linalg.norm(p) / np.linalg.norm(centre) for p in x])


def uniformity(x, scale=1.0):
    """Of features that are ``scale`` times as large."""
    apart = [[np.linalg.norm(p - q) for q in x] for p in x]
    return math.log(np.mean([[np.exp(-2 * (scale * d) ** 2) for d in row] for row in apart]))


def uniformity_of_directions(x):
    return uniformity(x / np.linalg.norm(x, axis=1, keepdims=True))


def heat_trace(x):
    near = front(x, 5, "euclidean")
    n = len(x)
    joined = np.array([[float(j in near[i] or i in near[j]) for j in range(n)] for i in range(n)])
    degrees = joined.sum(axis=1)
    laplacian = np.eye(n) - joined / np.sqrt(np.outer(degrees, degrees))
    eigenvalues = np.linalg.eigvals(laplacian).real
    return np.array([np.exp(-2 * (t + 1 / t)) * np.mean(np.exp(-t * eigenvalues)) for t in TIMES])


def difference(describe, x, y):
    return np.max(np.abs(describe(x) - describe(y)))
