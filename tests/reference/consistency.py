"""Consistency straight from its definition: double loops over model pairs and stimulus sets, numpy."""

import math

import numpy as np


def rank(values):
    values = np.asarray(values)
    return np.array([1 + (values < v).sum() + ((values == v).sum() - 1) / 2 for v in values])


def pearson(x, y):
    x, y = x - np.mean(x), y - np.mean(y)
    return float(np.sum(x * y) / math.sqrt(np.sum(x * x) * np.sum(y * y)))


def spearman(x, y):
    return pearson(rank(x), rank(y))


def kendall(x, y):
    """Tau-b: concordant minus discordant over the geometric mean of the numbers of untied pairs."""
    balance = untied_x = untied_y = 0
    for i in range(len(x)):
        for j in range(i):
            balance += np.sign(x[i] - x[j]) * np.sign(y[i] - y[j])
            untied_x += x[i] != x[j]
            untied_y += y[i] != y[j]
    return float(balance / math.sqrt(untied_x * untied_y))


COEFFICIENTS = {"pearson": pearson, "spearman": spearman, "kendall": kendall}


def list_model_pairs(first, second):
    """Every unordered pair {a, b} with a in the first set, b in the second, a not b, once."""
    return sorted({(min(a, b), max(a, b)) for a in first for b in second if a != b})


def consistency(similarities, pairs, coefficient):
    """One group: matrix over stimulus sets and number of model pairs that entered."""
    n_sets = len(similarities)
    values, counts = np.full((n_sets, n_sets), np.nan), np.zeros((n_sets, n_sets), dtype=int)
    for s in range(n_sets):
        for t in range(n_sets):
            x = np.array([similarities[s][a][b] for a, b in pairs])
            y = np.array([similarities[t][a][b] for a, b in pairs])
            both = ~np.isnan(x) & ~np.isnan(y)
            counts[s, t] = both.sum()
            if both.sum() > 2 and np.ptp(x[both]) > 0 and np.ptp(y[both]) > 0:
                values[s, t] = COEFFICIENTS[coefficient](x[both], y[both])
    return values, counts
