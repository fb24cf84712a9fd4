"""Ensembles straight from the definition, with loops."""

from itertools import combinations


def ensemble_accuracy(probabilities, labels, members):
    """Probabilities by model, one row of classes per stimulus."""
    hits = 0
    for stimulus, label in enumerate(labels):
        rows = [probabilities[model][stimulus] for model in members]
        mean = [sum(row[c] for row in rows) / len(rows) for c in range(len(rows[0]))]
        hits += mean.index(max(mean)) == label
    return hits / len(labels)


def mean_within(similarities, members):
    pairs = list(combinations(members, 2))
    return sum(similarities[a][b] for a, b in pairs) / len(pairs)
