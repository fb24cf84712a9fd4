"""Spread of embeddings from the formulas, with loops, in float64."""

import math

import torch


def rankme(rows):
    sigma = torch.linalg.svdvals(rows.double()).tolist()
    shares = [each / sum(sigma) + 1e-7 for each in sigma]
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
