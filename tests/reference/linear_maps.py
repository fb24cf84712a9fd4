"""Linear-map measures straight from their definitions, two models at a time, in numpy float64.

Bases come from a full singular value decomposition of the features themselves, never from a Gram matrix, and
every rotation is formed and applied.
"""

import numpy as np


def centre(x):
    return x - x.mean(axis=0)


def unit(x):
    x = centre(x)
    return x / np.linalg.norm(x)


def span(x, cutoff=1e-12):
    """Return orthonormal directions of the features, given in float64; they get one variance for that."""
    x = centre(x[:, np.ptp(x, axis=0) > 0])
    u, s, _ = np.linalg.svd(x / np.linalg.norm(x, axis=0), full_matrices=False)
    return u[:, s > cutoff * s[0]]


def within(x):
    """Return the singular value decomposition of the centred features within their span."""
    basis = span(x)
    u, s, vt = np.linalg.svd(basis.T @ centre(x), full_matrices=False)
    return basis @ u, s, vt


def canonical_correlations(x, y):
    return np.linalg.svd(span(x).T @ span(y), compute_uv=False)


def cca_mean(x, y):
    return canonical_correlations(x, y).mean()


def cca_mean_squared(x, y):
    return (canonical_correlations(x, y) ** 2).mean()


def keep_leading_components(x, variance_fraction):
    u, s, _ = np.linalg.svd(centre(x), full_matrices=False)
    total, reached, k = sum(s**2), 0.0, 0
    while reached / total < variance_fraction:
        reached += s[k] ** 2
        k += 1
    return u[:, :k] * s[:k]


def svcca(x, y, variance_fraction):
    return cca_mean(
        keep_leading_components(x, variance_fraction), keep_leading_components(y, variance_fraction)
    )


def pwcca(x, y):
    """Weights from x."""
    basis, xc = span(x), centre(x)
    left, rho, _ = np.linalg.svd(basis.T @ span(y))
    variates = basis @ left
    weighted, total = 0.0, 0.0
    for i in range(len(rho)):
        weight = sum(abs(variates[:, i] @ feature) for feature in xc.T)
        weighted += weight * rho[i]
        total += weight
    return weighted / total


def eigenspace_overlap(x, y):
    u, v = span(x), span(y)
    return np.linalg.norm(u.T @ v) ** 2 / max(u.shape[1], v.shape[1])


def linear_regression(x, y):
    """Share of the variance of y that x explains."""
    basis, yc = span(x), centre(y)
    return 1 - np.linalg.norm(yc - basis @ (basis.T @ yc)) ** 2 / np.linalg.norm(yc) ** 2


def gulp(x, y, ridge):
    n = len(x)
    x, y = np.sqrt(n) * unit(x), np.sqrt(n) * unit(y)
    cov_x, cov_y, cov_xy = x.T @ x / n, y.T @ y / n, x.T @ y / n
    inverse_x = np.linalg.inv(cov_x + ridge * np.eye(len(cov_x)))
    inverse_y = np.linalg.inv(cov_y + ridge * np.eye(len(cov_y)))
    own = np.trace(inverse_x @ cov_x @ inverse_x @ cov_x) + np.trace(inverse_y @ cov_y @ inverse_y @ cov_y)
    return own - 2 * np.trace(inverse_x @ cov_xy @ inverse_y @ cov_xy.T)


def pad_to_same_width(x, y):
    width = max(x.shape[1], y.shape[1])
    return (np.pad(z, ((0, 0), (0, width - z.shape[1]))) for z in (x, y))


def rotate_onto(x, y):
    """Return x after the best rotation onto y, feature counts made equal by idle features."""
    left, _, right = np.linalg.svd(x.T @ y)
    return x @ left @ right


def procrustes(x, y):
    x, y = pad_to_same_width(unit(x), unit(y))
    return np.linalg.norm(rotate_onto(x, y) - y)


def procrustes_angular(x, y):
    x, y = pad_to_same_width(unit(x), unit(y))
    return np.arccos(np.clip(np.sum(rotate_onto(x, y) * y), -1, 1))


def size_and_shape(x, y):
    x, y = pad_to_same_width(centre(x), centre(y))
    return np.linalg.norm(rotate_onto(x, y) - y)


def nbs(x, y):
    """Nuclear norm of the product of the roots of the two Gram matrices, in stimulus space."""

    def root_of_gram(z):
        u, s, _ = np.linalg.svd(unit(z), full_matrices=False)
        return u @ np.diag(s) @ u.T

    return np.linalg.norm(root_of_gram(x) @ root_of_gram(y), ord="nuc")


def shape_angular(x, y, alpha):
    def partly_whiten(z):
        u, s, vt = within(z)
        return u @ np.diag(alpha * s + (1 - alpha)) @ vt

    return procrustes_angular_uncentred(partly_whiten(x), partly_whiten(y))


def procrustes_angular_uncentred(x, y):
    x, y = pad_to_same_width(x / np.linalg.norm(x), y / np.linalg.norm(y))
    return np.arccos(np.clip(np.sum(rotate_onto(x, y) * y), -1, 1))


def aligned_cosine(x, y):
    shared = np.linalg.svd(x.T @ y, compute_uv=False)
    if sum(shared > 1e-14 * shared[0]) < min(np.linalg.matrix_rank(x), np.linalg.matrix_rank(y)):
        return np.nan  # several rotations are best, or float64 has no digits to find the best
    width = max(x.shape[1], y.shape[1])
    x, y = (np.pad(z, ((0, 0), (0, width - z.shape[1]))) for z in (x, y))
    u, _, vt = np.linalg.svd(x.T @ y)
    return np.mean(
        [p @ q / np.linalg.norm(p) / np.linalg.norm(q) for p, q in zip(x @ u @ vt, y, strict=True)]
    )
