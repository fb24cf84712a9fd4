"""Measures of rows and views that need no labels, from their formulas, with loops, in float64."""

import itertools
import math

import numpy as np
import torch


def directions(rows):
    return [[float(v) / math.hypot(*map(float, row)) for v in row] for row in rows]


def cosine(x, y):
    return math.fsum(a * b for a, b in zip(x, y, strict=True))


def coherence(rows, rank):
    """Leverages from a projection onto the first left singular vectors."""
    gram = rows.double() @ rows.double().T
    vectors = torch.linalg.eigh(gram)[1].flip(1)[:, :rank]
    leverages = [sum(float(v) ** 2 for v in row) for row in vectors]
    return len(rows) / rank * max(leverages)


def self_cluster(rows):
    n, k = rows.shape
    z = directions(rows)
    energy = math.fsum(cosine(x, y) ** 2 for x in z for y in z)
    expected = n + n * (n - 1) / k
    return (energy - expected) / (n**2 - expected)


def uniformity(rows):
    z = directions(rows)
    pairs = [math.exp(-2 * math.dist(x, y) ** 2) for x, y in itertools.combinations(z, 2)]
    return math.log(math.fsum(pairs) / len(pairs))


def alignment(views):
    per_image = []
    for image in views:
        pairs = itertools.combinations(directions(image), 2)
        per_image.append(np.mean([math.dist(x, y) ** 2 for x, y in pairs]))
    return np.mean(per_image)


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


def nearest_centres(x, centres):
    return [min(range(len(centres)), key=lambda c: math.dist(row, centres[c])) for row in x]


def cluster(x, centres):
    """Lloyd's rounds from given centres; an empty cluster keeps its centre."""
    centres = [list(centre) for centre in centres]
    labels = nearest_centres(x, centres)
    while True:
        for c in range(len(centres)):
            members = [row for row, label in zip(x, labels, strict=True) if label == c]
            if members:
                centres[c] = np.mean(members, axis=0)
        before, labels = labels, nearest_centres(x, centres)
        if labels == before:
            return labels


def neighbour_accuracy(x, labels, n_neighbours):
    n_right = 0
    for i, row in enumerate(x):
        others = sorted((j for j in range(len(x)) if j != i), key=lambda j: math.dist(row, x[j]))
        votes = [labels[j] for j in others[:n_neighbours]]
        n_right += max(votes, key=lambda label: (votes.count(label), -votes.index(label))) == labels[i]
    return n_right / len(x)


def tree_length(x):
    """Kruskal: edges from the shortest on, that join two parts."""
    parts, length = list(range(len(x))), 0.0
    for i, j in sorted(itertools.combinations(range(len(x)), 2), key=lambda e: math.dist(x[e[0]], x[e[1]])):
        if parts[i] != parts[j]:
            length += math.dist(x[i], x[j])
            parts = [parts[i] if part == parts[j] else part for part in parts]
    return length


def tree_dimension(sizes, lengths):
    """1 / (1 - m), with the slope m by least squares."""
    x, y = np.log(sizes), np.log(lengths)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    return 1 / (1 - slope)
