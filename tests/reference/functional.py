"""Measures on decisions straight from their definitions, stimulus by stimulus."""

import math


def disagreement(first, second):
    return sum(p != q for p, q in zip(first, second, strict=True)) / len(first)


def cohen_kappa(first, second):
    n = len(first)
    classes = sorted(set(first) | set(second))
    table = [
        [sum((p, q) == (a, b) for p, q in zip(first, second, strict=True)) for b in classes] for a in classes
    ]
    agreed = sum(table[c][c] for c in range(len(classes))) / n
    by_chance = sum(sum(table[c]) * sum(row[c] for row in table) for c in range(len(classes))) / n**2
    return (agreed - by_chance) / (1 - by_chance)


def error_consistency(first, second, labels):
    return cohen_kappa(
        [p == truth for p, truth in zip(first, labels, strict=True)],
        [q == truth for q, truth in zip(second, labels, strict=True)],
    )


def entropy(probabilities):
    return -sum(p * math.log2(p) for p in probabilities if p > 0)


def jensen_shannon(first, second):
    values = []
    for p, q in zip(first, second, strict=True):
        middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
        values.append(entropy(middle) - (entropy(p) + entropy(q)) / 2)
    return sum(values) / len(values)
