"""Feature-reweighted RSA straight from its definition: every RDM made, least squares on all pairs."""

from itertools import combinations

import numpy as np
from scipy.optimize import nnls


def feature_rdms(x):
    return np.array([(x[i] - x[j]) ** 2 for i, j in combinations(range(len(x)), 2)])


def rsa_reweighted(x, y, folds, ridge=1e-6):
    """Each feature's RDM has norm one for the ridge, which is so many more rows."""
    predicted, observed = [], []
    for test in folds:
        design = feature_rdms(np.delete(x, test, axis=0))
        target = feature_rdms(np.delete(y, test, axis=0)).sum(axis=1)
        sizes = np.linalg.norm(design, axis=0)
        sizes[sizes == 0] = 1
        rows = np.vstack([design / sizes, np.sqrt(ridge) * np.eye(len(sizes))])
        weights, _ = nnls(rows, np.concatenate([target, np.zeros(len(sizes))]) / np.linalg.norm(target))
        predicted += list(feature_rdms(x[test]) / sizes @ weights * np.linalg.norm(target))
        observed += list(feature_rdms(y[test]).sum(axis=1))
    return np.corrcoef(predicted, observed)[0, 1]
