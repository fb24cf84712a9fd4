"""Spread of embeddings from the formulas, with loops, in float64."""

import math

import torch


def rankme(rows):
    sigma = torch.linalg.svdvals(rows.double()).tolist()
    shares = [each / sum(sigma) + 1e-7 for each in sigma]
    return math.exp(-sum(p * math.log(p) for p in shares))


def lidar(views, delta):
    n, q, k = views.shape
    means = [sum(views[i, j] for j in range(q)) / q for i in range(n)]
    mean = sum(means) / n
    between = sum(torch.outer(m - mean, m - mean) for m in means) / (n - 1)
    within = sum(
        torch.outer(views[i, j] - means[i], views[i, j] - means[i]) for i in range(n) for j in range(q)
    ) / (n * (q - 1)) + delta * torch.eye(k, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(within)
    root = vectors @ torch.diag(values**-0.5) @ vectors.T
    eigenvalues = torch.linalg.eigvalsh(root @ between @ root).clamp(min=0).tolist()
    shares = [each / sum(eigenvalues) + 1e-7 for each in eigenvalues]
    return math.exp(-sum(p * math.log(p) for p in shares))


def contrast(first, second, top):
    """Share of the 2n views whose partner is among the `top` nearest by cosine."""
    rows = [row / row.norm() for row in (*first, *second)]
    n, n_found = len(first), 0
    for i, row in enumerate(rows):
        partner = (i + n) % (2 * n)
        nearer = sum(
            bool(row @ rows[j] >= row @ rows[partner]) for j in range(2 * n) if j not in (i, partner)
        )
        n_found += nearer < top
    return n_found / (2 * n)
