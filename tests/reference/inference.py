"""Permutation tests, bootstraps and jackknives straight from their definitions: loops and copies, numpy."""

import itertools
import math

import numpy as np
from tests.reference.consistency import pearson, spearman

CORRELATE = {"pearson": pearson, "spearman": spearman}


def expand(counts):
    """Units of a bootstrap sample, one entry per draw."""
    return [unit for unit, count in enumerate(counts) for _ in range(int(count))]


def resampled_pairs(counts, pairs):
    """Pairs of draws whose units form a pair of the group; a unit never meets its own copy."""
    group, drawn = {frozenset(p) for p in pairs}, expand(counts)
    return [(a, b) for a, b in itertools.combinations(drawn, 2) if a != b and frozenset((a, b)) in group]


def replicate_consistency(first, second, counts, pairs, coefficient):
    drawn = resampled_pairs(counts, pairs)
    x, y = (np.array([m[a][b] for a, b in drawn]) for m in (first, second))
    both = ~np.isnan(x) & ~np.isnan(y)
    distinct = {frozenset(p) for p, keep in zip(drawn, both, strict=True) if keep}
    if len(distinct) < 3 or np.ptp(x[both]) == 0 or np.ptp(y[both]) == 0:
        return math.nan
    return CORRELATE[coefficient](x[both], y[both])


def mantel(first, second, pairs, permutations, coefficient, two_sided=False):
    """Permute the rows and columns of the second matrix and count."""
    x = np.array([first[a][b] for a, b in pairs])
    observed = CORRELATE[coefficient](x, np.array([second[a][b] for a, b in pairs]))
    reached = 0
    for order in permutations:
        value = CORRELATE[coefficient](x, np.array([second[order[a]][order[b]] for a, b in pairs]))
        reached += (abs(value) >= abs(observed) - 1e-12) if two_sided else (value >= observed - 1e-12)
    return observed, (1 + reached) / (len(permutations) + 1)


def debiased_hsic(k, l):  # noqa: E741
    """Song et al. 2012, equation 5."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    cross = np.trace(k @ l) + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ l).sum()
    return cross / (n * (n - 3))


def biased_hsic(k, l):  # noqa: E741
    n = len(k)
    h = np.eye(n) - np.ones((n, n)) / n
    return np.trace(k @ h @ l @ h) / (n - 1) ** 2


def cka(k, l, debiased=True):  # noqa: E741
    hsic = debiased_hsic if debiased else biased_hsic
    return hsic(k, l) / math.sqrt(hsic(k, k) * hsic(l, l))


def jackknife_cka(k, l):  # noqa: E741
    """Return the standard error: leave each stimulus out in turn and start afresh."""
    n = len(k)
    values = np.array([cka(*(np.delete(np.delete(m, i, 0), i, 1) for m in (k, l))) for i in range(n)])
    return math.sqrt((n - 1) / n * np.sum((values - values.mean()) ** 2))


def resampled_cka(k, l, counts, debiased=True):  # noqa: E741
    """CKA of the drawn sample; entries of a draw with another draw of the same stimulus are missing.

    Centring subtracts from each present entry one number for its row and one for its column such that all
    sums over present entries of a row are zero; the numbers come from a linear system. A draw meets itself
    only where biased.
    """
    drawn = np.array(expand(counts))
    present = drawn[:, None] != drawn[None, :]
    if not debiased:
        present = present | np.eye(len(drawn), dtype=bool)

    def centre(gram):
        gram = gram[np.ix_(drawn, drawn)]
        system = present + np.diag(present.sum(1))
        offset = np.linalg.solve(system.astype(float), (gram * present).sum(1))
        return np.where(present, gram - offset[:, None] - offset[None, :], 0)

    u, v = centre(k), centre(l)
    return np.sum(u * v) / math.sqrt(np.sum(u * u) * np.sum(v * v))


def resampled_gaussian_cka(x, y, counts, width, debiased=True):
    """CKA of a resample; the width is a multiple of the median over pairs of draws of different stimuli."""
    drawn = expand(counts)
    grams = []
    for features in (x, y):
        distances = [
            math.dist(features[i], features[j]) for i, j in itertools.combinations(drawn, 2) if i != j
        ]
        squares = sorted(distance**2 for distance in distances)
        middle = (squares[(len(squares) - 1) // 2] + squares[len(squares) // 2]) / 2
        gram = [
            [math.exp(-(math.dist(p, q) ** 2) / (2 * width**2 * middle)) for q in features] for p in features
        ]
        grams.append(np.array(gram))
    return resampled_cka(*grams, counts, debiased)


def resampled_rsa(first, second, counts, coefficient):
    """Correlation of dissimilarities over pairs of draws of different stimuli."""
    drawn = [(a, b) for a, b in itertools.combinations(expand(counts), 2) if a != b]
    return CORRELATE[coefficient](*(np.array([m[a][b] for a, b in drawn]) for m in (first, second)))


def neighbour_overlap(first, second, jaccard=False):
    values = []
    for a, b in zip(first, second, strict=True):
        shared = len(set(a) & set(b))
        values.append(shared / len(set(a) | set(b)) if jaccard else shared / len(a))
    return float(np.mean(values))


def nearest_neighbours(x, k):
    """Ids of the k nearest rows (Euclidean), never the row itself, ties to the lower id."""
    distances = np.array([[np.linalg.norm(a - b) for b in x] for a in x])
    np.fill_diagonal(distances, np.inf)
    return np.argsort(distances, axis=1, kind="stable")[:, :k]


def benjamini_hochberg(p_values):
    m = len(p_values)
    order = np.argsort(p_values)
    adjusted = np.empty(m)
    for place, index in enumerate(order):
        adjusted[index] = min(1, *(p_values[order[j]] * m / (j + 1) for j in range(place, m)))
    return adjusted


def holm(p_values):
    m = len(p_values)
    order = np.argsort(p_values)
    adjusted = np.empty(m)
    for place, index in enumerate(order):
        adjusted[index] = min(1, max(p_values[order[j]] * (m - j) for j in range(place + 1)))
    return adjusted


def max_statistic(observed, null, step_down=False):
    """Westfall & Young: compare each value with the largest of the (remaining) values of each permutation."""
    n_null, order = len(null), np.argsort(observed)[::-1]
    adjusted, largest_yet = np.empty(len(observed)), 0.0
    for place, index in enumerate(order):
        family = order[place:] if step_down else order
        value = (1 + sum(max(row[family]) >= observed[index] for row in null)) / (n_null + 1)
        largest_yet = max(largest_yet, value)
        adjusted[index] = largest_yet
    return adjusted


def noise_ceiling(vectors):
    """Lower: each vector against the mean of the others; upper: against the mean of all (cosines)."""

    def cosine(x, y):
        return x @ y / math.sqrt((x @ x) * (y @ y))

    unit = [v / math.sqrt(v @ v) for v in vectors]
    upper = np.mean([cosine(v, np.mean(unit, axis=0)) for v in unit])
    lower = np.mean([cosine(v, np.mean(unit[:i] + unit[i + 1 :], axis=0)) for i, v in enumerate(unit)])
    return lower, upper
