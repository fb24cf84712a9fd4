"""Descriptions of single models straight from their definitions, one pair of stimuli after the other."""

import itertools
import math

import numpy as np
import torch
from tests.reference.neighbours import front

TIMES = np.logspace(-1, 1, 256)


def magnitude(x):
    return np.linalg.norm(x.mean(axis=0))


def concentricity(x):
    centre = x.mean(axis=0)
    return np.mean([p @ centre / np.linalg.norm(p) / np.linalg.norm(centre) for p in x])


def uniformity(x, scale=1.0):
    """Of features that are ``scale`` times as large."""
    apart = [[np.linalg.norm(p - q) for q in x] for p in x]
    return math.log(np.mean([[np.exp(-2 * (scale * d) ** 2) for d in row] for row in apart]))


def uniformity_of_directions(x):
    return uniformity(x / np.linalg.norm(x, axis=1, keepdims=True))


def heat_trace(x):
    near = front(x, 5, "euclidean")
    n = len(x)
    joined = np.array([[float(j in near[i] or i in near[j]) for j in range(n)] for i in range(n)])
    degrees = joined.sum(axis=1)
    laplacian = np.eye(n) - joined / np.sqrt(np.outer(degrees, degrees))
    eigenvalues = np.linalg.eigvals(laplacian).real
    return np.array([np.exp(-2 * (t + 1 / t)) * np.mean(np.exp(-t * eigenvalues)) for t in TIMES])


def difference(describe, x, y):
    if describe is living_times:
        return np.sum((describe(x) - describe(y)) ** 2)
    return np.max(np.abs(describe(x) - describe(y)))


def living_times(x, n_draws=20, seed=0):
    """For which share of its growth the witness complex has so many holes, mean over draws of landmarks."""
    generator = torch.Generator().manual_seed(seed)
    n, counts = len(x), np.zeros(100)
    apart = np.array([[np.linalg.norm(p - q) for q in x] for p in x])
    for _ in range(n_draws):
        landmarks = torch.randperm(n, generator=generator)[: min(64, n // 2)].numpy()
        seen = apart[:, landmarks]
        end = seen.max() / 128
        edges, triangles = simplices(seen, end)
        times = np.unique([0, end, *edges.values(), *triangles.values()])
        n_holes = count_holes(edges, triangles)
        for start, stop in itertools.pairwise(times):
            holes = n_holes(start)
            counts[holes] += (stop - start) / end if holes < 100 else 0
    return counts / n_draws


def simplices(seen, end):
    """Edges and triangles of landmarks with the value at which each appears, in the order of values."""
    n = seen.shape[1]
    edges = {pair: when_seen(seen, pair) for pair in itertools.combinations(range(n), 2)}
    edges = {pair: value for pair, value in edges.items() if value <= end}
    triangles = {}
    for three in itertools.combinations(range(n), 3):
        sides = list(itertools.combinations(three, 2))
        if all(side in edges for side in sides):
            triangles[three] = max(when_seen(seen, three), *(edges[side] for side in sides))
    triangles = {three: value for three, value in triangles.items() if value <= end}
    return edges, triangles


def when_seen(seen, members):
    """By how much the farthest member is farther than the nearest landmark left out, for the best witness."""
    left_out = [place for place in range(seen.shape[1]) if place not in members]
    return max(0.0, np.min(seen[:, members].max(axis=1) - seen[:, left_out].min(axis=1)))


def count_holes(edges, triangles):
    """First Betti number at any time: edges less the rank of their boundaries, less that of triangles."""
    by_age = sorted(edges, key=edges.get)
    filling = sorted(triangles, key=triangles.get)
    joining = independent([set(pair) for pair in by_age])
    sides = [{by_age.index(side) for side in itertools.combinations(three, 2)} for three in filling]
    cycles = [edges[pair] for pair, joins in zip(by_age, joining, strict=True) if not joins]
    fillings = [triangles[three] for three, fills in zip(filling, independent(sides), strict=True) if fills]
    return lambda time: sum(value <= time for value in cycles) - sum(value <= time for value in fillings)


def independent(sets):
    """Which vectors over the field of two elements, given by where they are one, add to the rank so far."""
    basis, adds = {}, []
    for one in sets:
        rest = set(one)
        while rest and max(rest) in basis:
            rest ^= basis[max(rest)]
        if rest:
            basis[max(rest)] = rest
        adds.append(bool(rest))
    return adds
