"""CKA and distance correlation straight from their definitions, two models at a time, in numpy float64."""

import numpy as np
from tests.reference.remembered import remembered


@remembered
def linear_gram(x):
    # changes no centred matrix, and keeps the digits that a large mean, or one large row, would take
    x = x - np.median(x, axis=0)
    return np.array([[float(np.dot(a, b)) for b in x] for a in x])


@remembered
def distances(x):
    x = np.asarray(x, dtype=np.longdouble)
    return np.array([[np.sqrt(np.sum((a - b) ** 2)) for b in x] for a in x])


def upper(matrix):
    return np.array([matrix[i, j] for i in range(len(matrix)) for j in range(i + 1, len(matrix))])


def exponents(x, width):
    return (
        distances(x) / np.longdouble(width)
    ) ** 2 / 2  # beyond the range of float64 where widths are extreme


def gaussian_gram(x, width):
    return np.exp(-exponents(x, width)).astype(float)


def median_distance(x):
    return float(np.sqrt(np.median(upper(distances(x)) ** 2)))


def double_centred(k):
    h = np.eye(len(k)) - np.ones((len(k), len(k))) / len(k)
    return h @ k.astype(np.longdouble) @ h


def hsic_biased(k, m):
    return np.trace(double_centred(k) @ double_centred(m)) / (len(k) - 1) ** 2


def hsic_unbiased(k, m):
    """Inner product of U-centred matrices (Székely & Rizzo 2014), Song et al. 2012, equation 5.

    Equation 5 itself (``hsic_by_equation_5``) subtracts sums that one large row makes nearly equal.
    """
    n = len(k)
    return np.sum(u_centred(k) * u_centred(m)) / (n * (n - 3))


def u_centred(k):
    n, k = len(k), k.astype(np.longdouble) - np.diag(np.diag(k))
    rows = k.sum(axis=0) / (n - 2)
    centred = k - rows[:, None] - rows + k.sum() / ((n - 1) * (n - 2))
    return centred - np.diag(np.diag(centred))


def hsic_by_equation_5(k, m):
    """Song et al. 2012, equation 5, term by term."""
    n, one = len(k), np.ones(len(k))
    k, m = (z.astype(np.longdouble) - np.diag(np.diag(z)) for z in (k, m))
    trace = np.trace(k @ m)
    means = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return (trace + means - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def hsic_lange(k, m):
    k, m = double_centred(k), double_centred(m)
    return sum(k[i, j] * m[i, j] for i in range(len(k)) for j in range(len(k)) if i != j)


def cosine(inner, k, m):
    return float(inner(k, m) / np.sqrt(inner(k, k) * inner(m, m)))


HSIC = {"biased": hsic_biased, "debiased": hsic_unbiased, "lange": hsic_lange}


def linear_cka(x, y, estimator):
    return cosine(HSIC[estimator], linear_gram(x), linear_gram(y))


def gaussian_cka(x, y, width_x, width_y, estimator):
    return cosine(HSIC[estimator], *(_kernel(z, w, estimator) for z, w in ((x, width_x), (y, width_y))))


def _kernel(x, width, estimator):
    """Return the kernel, or one in the range of numbers that centring cannot tell from it."""
    scaled = exponents(x, width)
    if scaled.max() < 1:
        return np.expm1(-scaled)
    if estimator != "biased":  # it sees neither a factor nor the diagonal
        np.fill_diagonal(scaled, np.inf)
        return np.exp(scaled.min() - scaled)
    return np.exp(-scaled)


def minibatch_cka(x, y, batches):
    def inner(x, y):
        return np.mean([hsic_unbiased(linear_gram(x[b]), linear_gram(y[b])) for b in batches])

    return float(inner(x, y) / np.sqrt(inner(x, x) * inner(y, y)))


def distance_correlation(x, y, estimator):
    """Squared, as a ratio of (co)variances of centred distance matrices."""
    return cosine(HSIC[estimator], distances(x), distances(y))
