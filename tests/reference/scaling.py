"""Scaling straight from the definitions, with loops."""

import math

import numpy as np


def stress_one(dissimilarities, positions):
    misfit = square = 0.0
    for i in range(len(positions)):
        for j in range(i):
            distance = math.dist(positions[i], positions[j])
            misfit += (distance - dissimilarities[i][j]) ** 2
            square += distance**2
    return math.sqrt(misfit / square)


def torgerson(dissimilarities):
    """Positions of all dimensions with a positive eigenvalue, from the H matrix."""
    n = len(dissimilarities)
    centring = np.eye(n) - np.ones((n, n)) / n
    inner = -0.5 * centring @ (np.asarray(dissimilarities) ** 2) @ centring
    eigenvalues, vectors = np.linalg.eigh(inner)
    return vectors[:, ::-1] * np.sqrt(np.maximum(eigenvalues[::-1], 0))


def monotone_fit(values):
    """Pool adjacent violators: the numbers nearest to the values that never fall."""
    blocks = []
    for value in values:
        blocks.append([value, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, count = blocks.pop()
            total = blocks[-1][0] * blocks[-1][1] + mean * count
            blocks[-1] = [total / (blocks[-1][1] + count), blocks[-1][1] + count]
    return [mean for mean, count in blocks for _ in range(count)]
