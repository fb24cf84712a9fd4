"""Agreement of measures and performance gaps from copies: every drawn unit is written out, loops, numpy."""

import itertools
import math

import numpy as np
from tests.reference.consistency import pearson
from tests.reference.inference import expand


def correlate(x, y, n_distinct):
    x, y = np.array(x), np.array(y)
    if n_distinct < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return pearson(x, y)


def mean_similarities(first, second, models, sets):
    """One replicate: drawn models in pairs of different ones, means over drawn sets."""
    models, sets = expand(models), expand(sets)
    usable = {
        (a, b)
        for a, b in itertools.product(range(len(first[0])), repeat=2)
        if not any(np.isnan(m[s][a][b]) for m in (first, second) for s in range(len(first)))
    }
    pairs = [(a, b) for a, b in itertools.combinations(models, 2) if a != b and (a, b) in usable]
    values = [[np.mean([m[s][a][b] for s in sets]) for a, b in pairs] for m in (first, second)]
    return correlate(*values, len({frozenset(pair) for pair in pairs}))


def values_of_set_pairs(first, second, set_pairs, sets):
    """One replicate: a value counts once for each two drawn sets that are its two."""
    drawn, distinct = [], set()
    for s, t in itertools.combinations(expand(sets), 2):
        for place, pair in enumerate(set_pairs):
            if s != t and set(pair) == {s, t} and not np.isnan([first[place], second[place]]).any():
                drawn.append(place)
                distinct.add(place)
    return correlate([first[i] for i in drawn], [second[i] for i in drawn], len(distinct))


def performance_gap(similarity, accuracy, models):
    """One replicate: similarity of drawn models and the difference of their accuracies."""
    pairs = [(a, b) for a, b in itertools.combinations(expand(models), 2) if a != b]
    pairs = [(a, b) for a, b in pairs if not np.isnan(similarity[a][b])]
    gaps = [abs(accuracy[a] - accuracy[b]) for a, b in pairs]
    return correlate([similarity[a][b] for a, b in pairs], gaps, len({frozenset(pair) for pair in pairs}))


def permuted_performance_gap(similarity, accuracy, orders):
    """Observed correlation, and the share of orders of the accuracies that are at least as extreme."""
    pairs = list(itertools.combinations(range(len(accuracy)), 2))

    def value(order):
        gaps = [abs(accuracy[order[a]] - accuracy[order[b]]) for a, b in pairs]
        return pearson(np.array([similarity[a][b] for a, b in pairs]), np.array(gaps))

    observed = value(range(len(accuracy)))
    reached = sum(abs(value(order)) >= abs(observed) - 1e-12 for order in orders)
    return observed, (1 + reached) / (len(orders) + 1)
