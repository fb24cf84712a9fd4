"""Estimates for populations straight from their definitions, two models at a time."""

import math
from itertools import combinations

import numpy as np
from tests.reference.cka import hsic_unbiased, linear_gram


def cka_debiased_twice(x, y):
    """Divide sums over different stimuli by sums over different stimuli and different features."""
    if np.array_equal(x, y):
        return 1.0 if distinct_features(x) > 0 else np.nan
    own = [distinct_features(z) for z in (x, y)]
    if min(own) <= 0:
        return np.nan
    cross = hsic_unbiased(linear_gram(x), linear_gram(y)) / (x.shape[1] * y.shape[1])
    return float(cross / np.sqrt(own[0] * own[1]))


def distinct_features(x):
    d = x.shape[1]
    grams = [linear_gram(x[:, [feature]]) for feature in range(d)]
    return 2 * sum(hsic_unbiased(a, b) for a, b in combinations(grams, 2)) / (d * (d - 1))


def nbs_moments(x, y, n_moments, orders):
    x, y = (z - z.mean(axis=0) for z in (x, y))
    x, y = (z / np.linalg.norm(z) for z in (x, y))
    pairs = [(differences(x, order), differences(y, order)) for order in orders]
    moments = np.mean([moments_of(*way, n_moments) for a, b in pairs for way in ((a, b), (b, a))], axis=0)
    cross = x.T @ y / (len(x) - 1)
    largest = np.linalg.norm(cross, 2)
    powers = np.arange(1, n_moments + 1)
    norm = np.sum(polynomial(n_moments) * moments * largest ** (1.0 - 2 * powers))
    return norm * (len(x) - 1)


def differences(x, order):
    pairs = order[: len(order) // 2 * 2].reshape(-1, 2)
    return (x[pairs[:, 0]] - x[pairs[:, 1]]) / np.sqrt(2)


def moments_of(x, y, n_moments):
    """Average over all increasing tuples, extended by one stimulus after the other."""
    first, second = x @ x.T, y @ y.T
    n, found = len(x), []
    for p in range(1, n_moments + 1):
        total = 0.0
        for start in range(n):
            reached = np.zeros(n)
            reached[start] = 1.0
            for length in range(1, 2 * p):
                gram = first if length % 2 else second
                reached = np.array([sum(reached[i] * gram[i, j] for i in range(j)) for j in range(n)])
            total += reached @ second[:, start]
        found.append(total / math.comb(n, 2 * p))
    return np.array(found)


def polynomial(n_moments, n_points=200_001):
    s = (np.arange(n_points) + 0.5) / n_points
    powers = np.stack([s ** (2 * p) for p in range(1, n_moments + 1)], axis=1)
    return np.linalg.lstsq(powers, s, rcond=None)[0]
