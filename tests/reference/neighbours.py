"""Nearest-neighbour measures straight from their definitions, one stimulus after the other."""

import numpy as np
from tests.reference.remembered import remembered


def similarities(x):
    return 1 - distances(x, "cosine")


@remembered
def distances(x, distance):
    if (
        distance == "cosine"
    ):  # one less the cosine, without cancellation between directions that hardly differ
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        return np.array([[np.sum((p - q) ** 2) / 2 for q in x] for p in x])
    return np.array([[np.linalg.norm(p - q) for q in x] for p in x])


def rounded(row):
    """Make equal what differs by rounding only."""
    return np.array([float(f"{value:.13e}") for value in row])


@remembered
def order(x, distance="cosine"):
    """All other stimuli of each stimulus, nearest first, equal ones by index."""
    lists = []
    for i, row in enumerate(map(rounded, distances(x, distance))):
        lists.append(sorted((j for j in range(len(x)) if j != i), key=lambda j, row=row: (row[j], j)))
    return lists


def front(x, k, distance):
    return [row[:k] for row in order(x, distance)]


def mutual_knn(x, y, k, distance="cosine"):
    pairs = zip(front(x, k, distance), front(y, k, distance), strict=True)
    return np.mean([len(set(p) & set(q)) / k for p, q in pairs])


def jaccards(x, y, k, distance):
    pairs = zip(front(x, k, distance), front(y, k, distance), strict=True)
    return np.array([len(set(p) & set(q)) / len(set(p) | set(q)) for p, q in pairs])


def jaccard(x, y, k, distance="cosine"):
    return np.mean(jaccards(x, y, k, distance))


def rank_similarities(x, y, k, distance):
    values = []
    for p, q in zip(front(x, k, distance), front(y, k, distance), strict=True):
        common = set(p) & set(q)
        summed = 0.0
        for j in common:
            first, second = p.index(j) + 1, q.index(j) + 1
            summed += 2 / ((1 + abs(first - second)) * (first + second))
        best = sum(1 / place for place in range(1, len(common) + 1))
        values.append(summed / best if common else 0.0)
    return np.array(values)


def rank_similarity(x, y, k, distance="cosine"):
    return np.mean(rank_similarities(x, y, k, distance))


def joint_rank_jaccard(x, y, k, distance="cosine"):
    return np.mean(jaccards(x, y, k, distance) * rank_similarities(x, y, k, distance))


def cycle_knn(x, y, k, distance="cosine"):
    """Out in y, back in x."""
    back, out = front(x, k, distance), front(y, k, distance)
    return np.mean([any(i in back[j] for j in out[i]) for i in range(len(x))])


def second_order_cosine(x, y, k):
    return mean_cosine_of_unions(similarities(x), similarities(y), x, y, k)


def second_order_cosine_distances(x, y, k):
    return mean_cosine_of_unions(distances(x, "cosine"), distances(y, "cosine"), x, y, k)


def mean_cosine_of_unions(s, t, x, y, k):
    values = []
    for i, (p, q) in enumerate(zip(front(x, k, "cosine"), front(y, k, "cosine"), strict=True)):
        union = sorted(set(p) | set(q))
        values.append(s[i, union] @ t[i, union] / np.linalg.norm(s[i, union]) / np.linalg.norm(t[i, union]))
    return np.mean(values)


def mask(x, k):
    chosen = np.zeros((len(x), len(x)))
    for i, row in enumerate(front(x, k, "cosine")):
        chosen[i, row] = 1
    return chosen


def cknna(x, y, k):
    def align(a, b):
        apart = [distances(z, "cosine") for z in (a, b)]
        centred = [d.mean(axis=1, keepdims=True) - d for d in apart]
        return (mask(a, k) * mask(b, k) * centred[0] * centred[1]).sum()

    return align(x, y) / np.sqrt(align(x, x) * align(y, y))


def cknna_reference(x, y, k):
    def unbiased_hsic(a, b):
        n = len(a)
        both = mask(a, k) * mask(b, k)
        first, second, one = both * similarities(a), both * similarities(b), np.ones(n)
        summed = np.trace(first @ second)
        summed += (one @ first @ one) * (one @ second @ one) / ((n - 1) * (n - 2))
        summed -= 2 * (one @ first @ second @ one) / (n - 2)
        return summed / (n * (n - 3))

    return unbiased_hsic(x, y) / np.sqrt(unbiased_hsic(x, x) * unbiased_hsic(y, y))


def information_imbalance(x, y, distance="cosine"):
    nearest, ranked = order(x, distance), order(y, distance)
    ranks = [ranked[i].index(nearest[i][0]) + 1 for i in range(len(x))]
    return 2 * np.mean(ranks) / len(x)
