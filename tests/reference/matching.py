"""Unit matching straight from its definitions: all permutations tried, transport by a dense programme."""

import math
from itertools import permutations

import numpy as np
from scipy.optimize import linear_sum_assignment, linprog


def centre(x):
    return x - x.mean(axis=0)


def varying(x):
    """Units that are the same for all stimuli match nothing."""
    return x[:, np.ptp(x, axis=0) > 0]


def correlations(x, y):
    x, y = varying(x), varying(y)
    return np.array([[np.corrcoef(p, q)[0, 1] for q in y.T] for p in x.T])


def permutation_match(x, y):
    if varying(x).shape[1] > varying(y).shape[1]:
        x, y = y, x
    r = correlations(x, y)
    orders = permutations(range(r.shape[1]), len(r))
    return max(np.mean([r[i, j] for i, j in enumerate(order)]) for order in orders)


def permutation_procrustes(x, y):
    x, y = centre(x) / np.linalg.norm(centre(x)), centre(y) / np.linalg.norm(centre(y))
    width = max(x.shape[1], y.shape[1])
    x, y = (np.pad(z, ((0, 0), (0, width - z.shape[1]))) for z in (x, y))
    return min(np.linalg.norm(x - y[:, list(order)]) for order in permutations(range(width)))


def unit_costs(x, y):
    x, y = (centre(z) / np.linalg.norm(centre(z), axis=0) for z in (varying(x), varying(y)))
    return np.array([[np.sum((p - q) ** 2) for q in y.T] for p in x.T])


def soft_match(x, y):
    costs = unit_costs(x, y)
    a, b = costs.shape
    constraints = [np.outer(np.eye(a)[i], np.ones(b)).ravel() for i in range(a)]
    constraints += [np.outer(np.ones(a), np.eye(b)[j]).ravel() for j in range(b)]
    masses = [1 / a] * a + [1 / b] * b
    return np.sqrt(max(0.0, linprog(costs.ravel(), A_eq=constraints, b_eq=masses).fun))


def partial_soft_match(x, y, mass):
    """Repeat units until whole numbers of equally many match; the rest is paired for nothing."""
    costs = unit_costs(x, y)
    n_repeated = math.lcm(*costs.shape, 10)
    n_alone = n_repeated - round(mass * n_repeated)
    repeated = costs.repeat(n_repeated // len(costs), axis=0)
    repeated = repeated.repeat(n_repeated // costs.shape[1], axis=1)
    forbidden = np.full((n_alone, n_alone), 1e6)
    partners = np.zeros((n_repeated, n_alone))
    padded = np.block([[repeated, partners], [partners.T, forbidden]])
    return np.sqrt(padded[linear_sum_assignment(padded)].sum() / n_repeated)


def soft_correlation_match(x, y):
    r = correlations(x, y)
    forth = np.mean([max(row) for row in r])
    back = np.mean([max(column) for column in r.T])
    return (forth + back) / 2
