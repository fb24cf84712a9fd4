"""RSA straight from its definitions, two models at a time, in numpy float64 and plain loops."""

import itertools

import numpy as np
from tests.reference.consistency import rank
from tests.reference.remembered import remembered


def dissimilarity(kind, a, b):
    if kind == "correlation":
        return dissimilarity("cosine", a - a.mean(), b - b.mean())
    if kind == "cosine":  # one less the cosine, without cancellation between directions that hardly differ
        return np.sum((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2) / 2
    if kind == "euclidean":
        return np.sqrt(np.sum((a - b) ** 2))
    return np.sum((a - b) ** 2)


@remembered
def rdm_vector(kind, x):
    return np.array([dissimilarity(kind, x[i], x[j]) for i, j in itertools.combinations(range(len(x)), 2)])


def pearson(v, w):
    v, w = v - v.mean(), w - w.mean()
    return v @ w / np.sqrt((v @ v) * (w @ w))


def cosine(v, w):
    return v @ w / np.sqrt((v @ v) * (w @ w))


def spearman(v, w):
    return pearson(rank(v), rank(w))


def rho_a(v, w):
    n = len(v)
    return 12 / (n**3 - n) * np.sum((rank(v) - (n + 1) / 2) * (rank(w) - (n + 1) / 2))


def tau_a(v, w):
    agree = sum((np.sign(v[:i] - v[i]) * np.sign(w[:i] - w[i])).sum() for i in range(len(v)))
    return agree / (len(v) * (len(v) - 1) / 2)


def whitened_cosine(v, w):
    """Cosine in the metric of the covariance that independent noise gives to squared distances.

    Row p of the contrasts says which two stimuli distance p is between.
    """
    n = round((1 + np.sqrt(1 + 8 * len(v))) / 2)
    contrasts = np.zeros((len(v), n))
    for p, (i, j) in enumerate(itertools.combinations(range(n), 2)):
        contrasts[p, i], contrasts[p, j] = 1, -1
    precision = np.linalg.inv((contrasts @ contrasts.T) ** 2)
    return v @ precision @ w / np.sqrt((v @ precision @ v) * (w @ precision @ w))


COMPARE = {
    "pearson": pearson,
    "cosine": cosine,
    "spearman": spearman,
    "rho_a": rho_a,
    "tau_a": tau_a,
    "whitened_cosine": whitened_cosine,
}
