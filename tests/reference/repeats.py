"""Dissimilarities of repeated stimuli straight from their definitions: all pairs of repeats, one by one."""

from itertools import combinations, permutations

import numpy as np
from scipy import stats


def noise_of(x):
    return (x - x.mean(axis=0)).reshape(-1, x.shape[2])


def noise_covariance(x, shrinkage=None):
    noise, freedom = noise_of(x), (x.shape[0] - 1) * x.shape[1]
    covariance = noise.T @ noise / freedom
    if shrinkage is None:
        shrinkage = estimated_shrinkage(noise, freedom)
    return (1 - shrinkage) * covariance + shrinkage * np.diag(np.diag(covariance))


def estimated_shrinkage(noise, freedom):
    noise = noise / np.sqrt(np.sum(noise**2, axis=0) / freedom)
    variances, squares = 0.0, 0.0
    for a, b in permutations(range(noise.shape[1]), 2):
        products = noise[:, a] * noise[:, b]
        variances += products.var() / freedom
        squares += products.mean() ** 2
    return min(1.0, variances / squares)


def rdm(x, kind, shrinkage=None):
    precision = np.eye(x.shape[2])
    if kind != "crossvalidated_euclidean":
        precision = np.linalg.inv(noise_covariance(x, shrinkage))
    found = []
    for i, j in combinations(range(x.shape[1]), 2):
        differences = x[:, i] - x[:, j]
        if kind == "mahalanobis":
            differences = differences.mean(axis=0)
            found.append(differences @ precision @ differences)
        else:
            found.append(np.mean([a @ precision @ b for a, b in permutations(differences, 2)]))
    return np.array(found) / x.shape[2]


COMPARE = {
    "pearson": lambda a, b: np.corrcoef(a, b)[0, 1],
    "spearman": lambda a, b: stats.spearmanr(a, b).statistic,
    "cosine": lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b),
}
