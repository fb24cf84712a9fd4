"""Moments and spectral measures straight from their definitions, in plain loops over Python floats."""

import math


def covariance(rows, ddof=0):
    n, d = len(rows), len(rows[0])
    mean = [math.fsum(row[j] for row in rows) / n for j in range(d)]
    return [
        [math.fsum((row[i] - mean[i]) * (row[j] - mean[j]) for row in rows) / (n - ddof) for j in range(d)]
        for i in range(d)
    ]


def second_moment(rows):
    n, d = len(rows), len(rows[0])
    return [[math.fsum(row[i] * row[j] for row in rows) / n for j in range(d)] for i in range(d)]


def smallest_k_reaching(eigenvalues, delta):
    ordered = sorted(eigenvalues, reverse=True)
    for k in range(1, len(ordered) + 1):
        if math.fsum(ordered[:k]) >= delta * math.fsum(ordered):
            return k
    raise AssertionError("the sum of all reaches every delta up to 1")


def delve_dimension(eigenvalues, delta):
    ordered = sorted(eigenvalues, reverse=True)
    shares = [math.fsum(ordered[: k + 1]) / math.fsum(ordered) for k in range(len(ordered))]
    below = [share for share in shares if share < delta]
    if not below:
        return 1
    return len(below) + 1 if delta - below[-1] > 0.02 else len(below)


def exp_entropy(spectrum, epsilon=0.0):
    total = math.fsum(spectrum)
    shares = [value / total + epsilon for value in spectrum]
    return math.exp(-math.fsum(p * math.log(p) for p in shares if p > 0.0))


def participation_ratio(eigenvalues):
    return math.fsum(eigenvalues) ** 2 / math.fsum(value**2 for value in eigenvalues)


def power_law(eigenvalues, first, last):
    """Weighted least squares by its normal equations, and the weighted R2."""
    points = [(math.log(i), math.log(eigenvalues[i - 1]), 1.0 / i) for i in range(first, last + 1)]
    sw = math.fsum(w for _, _, w in points)
    mx = math.fsum(w * x for x, _, w in points) / sw
    my = math.fsum(w * y for _, y, w in points) / sw
    slope = math.fsum(w * (x - mx) * (y - my) for x, y, w in points)
    slope /= math.fsum(w * (x - mx) ** 2 for x, _, w in points)
    rest = math.fsum(w * (y - my - slope * (x - mx)) ** 2 for x, y, w in points)
    return -slope, 1.0 - rest / math.fsum(w * (y - my) ** 2 for _, y, w in points)
